//! Tests of listeners that speak HTTP.

use std::sync::Arc;
use std::time::Duration;

use super::{refusal, right};
use crate::config::kit::{but, resolved};
use crate::config::snapshot::{Forwarding, Http2Options, HttpOptions};
use crate::route::path::EncodedSlashes;
use crate::route::table::Asked;
use crate::tls::server::Hooks;

/// The right configuration, with HTTP and what follows `[[listener.certificate]]`.
fn http(more: &str) -> String {
    but("#", "protocol = \"http\"") + more
}

fn options(text: &str) -> Arc<HttpOptions> {
    Arc::clone(right(text).listeners[0].http.as_ref().expect("it speaks HTTP"))
}

fn alpn(line: &str) -> Vec<String> {
    let snapshot = right(&but("#", &format!("protocol = \"http\"\n{line}")));
    let config = snapshot.listeners[0].tls.config(0, Hooks::none()).expect("a configuration");
    let names = config.alpn_protocols.iter();
    names.map(|name| String::from_utf8(name.clone()).expect("it was text")).collect()
}

#[test]
fn a_listener_speaks_http_only_where_it_is_told_to() {
    assert!(right(&but("#", "protocol = \"tcp\"")).listeners[0].http.is_none());
    assert_eq!(
        refusal(&but("#", "protocol = \"htp\"")),
        "r.toml:9:12: protocol = \"htp\"; expected one of tcp, http; fix: write \"http\""
    );
}

#[test]
fn what_is_not_written_of_http_has_its_default() {
    let http = options(&http(""));
    assert_eq!((http.head.bytes_max, http.head.fields_max), (16_384, 100));
    assert_eq!(http.head_timeout, Duration::from_secs(10));
    assert_eq!(http.keep_alive_timeout, Duration::from_secs(60));
    assert_eq!(http.requests_max, None);
    assert!(http.via && !http.via_of_responses && !http.problem_details);
    assert!(http.http1 && http.encoded_slashes == EncodedSlashes::Refused);
    assert_eq!((http.x_forwarded, http.forwarded), (Forwarding::Set, Forwarding::Off));
    assert!(!http.telling.needs_chain() && http.telling.token.is_none());
    let asked = Asked {
        host: b"a.test",
        method: b"GET",
        path: b"/",
        fields: &[],
        bytes: b"",
        identity: None,
    };
    let route = http.routes.select(&asked).expect("one takes all");
    let route = http.routes.route(route);
    assert_eq!((&*route.name, route.cluster), ("default", 0));
    assert!(route.rules.is_unrestricted());
    assert_eq!(route.timeouts.first_byte, Some(Duration::from_secs(60)));
    assert_eq!(route.timeouts.stream, Some(Duration::from_secs(300)));
    assert_eq!((route.timeouts.body, route.timeouts.total), (Duration::from_secs(60), None));
    assert_eq!((route.retries.max, route.retries.budget_percent), (1, 20));
    assert_eq!((route.request_body_bytes_max, route.request_head_bytes_max), (None, 16_384));
}

#[test]
fn what_is_written_of_http_is_in_the_snapshot() {
    let http = options(&http(
        "[listener.http]\nhead_bytes_max = 2048\nhead_fields_max = 7\nhead_timeout_ms = 1\n\
         keep_alive_timeout_ms = 2\nrequests_max = 3\nvia = true\nx_forwarded = \"append\"\n\
         forwarded = \"pass\"\nidentity_headers = [\"xfcc\", \"client-cert\"]\n\
         problem_details = true\nhttp2_streams_max = 4\nhttp2_header_list_bytes_max = 1500\n\
         http2_stream_window_bytes = 20000\nhttp2_connection_window_bytes = 70000\n\
         http2_resets_max = 8\nhttp2_idle_frames_max = 9\n",
    ));
    assert_eq!((http.head.bytes_max, http.head.fields_max), (2048, 7));
    assert_eq!(http.head_timeout, Duration::from_millis(1));
    assert_eq!(http.keep_alive_timeout, Duration::from_millis(2));
    assert_eq!(http.requests_max, Some(3));
    assert!(http.via && http.via_of_responses && http.problem_details);
    assert_eq!((http.x_forwarded, http.forwarded), (Forwarding::Append, Forwarding::Pass));
    assert!(http.telling.xfcc && http.telling.client_cert && !http.telling.client_cert_chain);
    let expected = Http2Options {
        streams_max: 4,
        header_list_bytes_max: 1500,
        stream_window_bytes: 20_000,
        connection_window_bytes: 70_000,
        resets_max: 8,
        idle_frames_max: 9,
    };
    assert_eq!(http.http2, expected);
}

#[test]
fn a_list_of_fields_of_http_2_fits_into_a_head() {
    let with = |keys: &str| http(&format!("[listener.http]\n{keys}\n"));
    let lists = |keys: &str| options(&with(keys)).http2.header_list_bytes_max;
    assert_eq!((lists(""), lists("head_bytes_max = 2048")), (16_384, 2_048));
    assert_eq!(lists("head_bytes_max = 2048\nhttp2_header_list_bytes_max = 2048"), 2_048);
    let refused = refusal(&with("head_bytes_max = 2048\nhttp2_header_list_bytes_max = 2049"));
    assert!(refused.contains("http2_header_list_bytes_max = 2049"), "{refused}");
    assert!(refused.contains("at most head_bytes_max, which is 2048"), "{refused}");
}

#[test]
fn encoded_slashes_are_a_matter_of_the_listener() {
    let route = "[[listener.route]]\nname = \"a\"\npath = \"/a%2Fb\"\n";
    let keys = "[listener.http]\nencoded_slashes = true\nvia = false\n";
    let http = options(&http(&format!("{keys}{route}")));
    assert_eq!(http.encoded_slashes, EncodedSlashes::Kept);
    assert!(!http.via && !http.via_of_responses);
}

#[test]
fn http_1_is_served_unless_alpn_leaves_it_out() {
    let http1 = |line: &str| options(&but("#", &format!("protocol = \"http\"\n{line}"))).http1;
    assert!(http1("alpn = [\"http/1.1\"]") && http1("alpn = [\"h2\", \"http/1.1\"]"));
    assert!(!http1("alpn = [\"h2\"]"));
}

#[test]
fn alpn_offers_http_unless_it_is_told_which() {
    assert_eq!(alpn(""), ["h2", "http/1.1"]);
    assert_eq!(alpn("alpn = [\"http/1.1\"]"), ["http/1.1"]);
    assert_eq!(alpn("alpn = [\"http/1.1\", \"h2\"]"), ["http/1.1", "h2"]);
    assert_eq!(
        refusal(&but("#", "protocol = \"http\"\nalpn = [\"h2\", \"foo\"]")),
        "r.toml:10:15: alpn lists \"foo\", and the listener speaks HTTP; \
         expected \"h2\" and \"http/1.1\", or one of them; \
         fix: remove it, or remove `alpn` for both"
    );
    right(&but("#", "alpn = [\"foo\"]"));
}

#[test]
fn keys_of_http_have_no_meaning_for_bytes() {
    let errors = resolved(&(but("#", "") + "[listener.http]\nvia = true\n")).expect_err("refused");
    assert_eq!(
        errors,
        ["r.toml:13:1: [listener.http] is set, and the listener's protocol is \"tcp\"; \
          expected it only with `protocol = \"http\"`; fix: set that, or remove the table"]
    );
}

#[test]
fn identities_are_signed_where_upstreams_can_get_the_key() {
    let signed = "[listener.http]\nidentity_headers = [\"signed\"]\n";
    assert_eq!(
        refusal(&http(signed)),
        "r.toml:14:20: identity_headers lists \"signed\", and upstreams can get no key to verify \
         by; expected [admin] address, whose listener publishes the key, or [identity] key; \
         fix: set one of the two"
    );
    let text = http(signed) + "[admin]\naddress = \"127.0.0.1:9901\"\n";
    let snapshot = right(&text);
    let http = snapshot.listeners[0].http.as_ref().expect("it speaks HTTP");
    let token = http.telling.token.as_ref().expect("it signs");
    assert!(Arc::ptr_eq(token, &snapshot.signer) && !http.telling.needs_chain());
}

#[test]
fn what_is_told_of_clients_is_a_list_of_known_names() {
    for (line, message) in [
        (
            "identity_headers = [\"xfc\"]",
            "r.toml:14:21: identity_headers = \"xfc\"; \
             expected one of client-cert, client-cert-chain, xfcc, signed; fix: write \"xfcc\"",
        ),
        (
            "identity_headers = [\"xfcc\", \"xfcc\"]",
            "r.toml:14:29: identity_headers lists \"xfcc\" again; expected each once; \
             fix: remove this one",
        ),
        (
            "identity_headers = []",
            "r.toml:14:20: identity_headers is an empty list; expected at least one entry; \
             fix: add one, or remove the key for the default",
        ),
        (
            "x_forwarded = \"add\"",
            "r.toml:14:15: x_forwarded = \"add\"; expected one of off, set, append, pass; \
             fix: write one of these",
        ),
    ] {
        assert_eq!(refusal(&http(&format!("[listener.http]\n{line}\n"))), message);
    }
}
