//! Tests of routes: what is written of one, and each refusal.

use std::sync::Arc;
use std::time::Duration;

use super::{refusal, right};
use crate::config::kit::{but, resolved};
use crate::limits::{ROUTE_FIELD_BYTES_MAX, ROUTE_PATH_BYTES_MAX, ROUTE_VALUES_MAX, ROUTES_MAX};
use crate::route::conditions::{FieldCondition, PathCondition};
use crate::route::table::{Rewrite, Table};

/// Two upstreams, and a listener of HTTP with these routes behind line 15.
fn routed(routes: &str) -> String {
    let other = "[[upstream]]\nname = \"web\"\nendpoints = [\"127.0.0.1:9001\"]\n[[listener]]\n";
    but("[[listener]]\n", other).replace('#', "protocol = \"http\"") + routes
}

/// A route from line 16 on, with this at line 18.
fn with(line: &str) -> String {
    routed(&format!("[[listener.route]]\nname = \"a\"\n{line}\n"))
}

fn table(text: &str) -> Table {
    Table::clone(&right(text).listeners[0].http.as_ref().expect("it speaks HTTP").routes)
}

#[test]
fn what_is_written_of_a_route_is_in_the_snapshot() {
    let table = table(&with(
        "host = [\"A.test\", \"*.b.test\"]\npath_prefix = \"/v1\"\nmethod = [\"GET\"]\n\
         header = [\"X-A: 1 \", \"X-B\"]\nidentity = [\"dns:*.c.test\"]\nallow = [\"any\"]\n\
         deny = [\"dns:d.test\"]\nupstream = \"web\"\nfirst_byte_timeout_ms = 1\n\
         body_timeout_ms = 2\nstream_timeout_ms = 0\ntotal_timeout_ms = 3\nretries = 4\n\
         retry_budget_percent = 5\n\
         prefix_rewrite = \"/\"\nrequest_body_bytes_max = 6\nrequest_head_bytes_max = 2000\n\
         rate_per_identity = \"7/m\"\nrate_per_source = \"8/s burst 9\"",
    ));
    let names: Vec<&str> = table.routes().iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["a", "default"]);
    let (route, conditions) = (&table.routes()[0], &table.conditions()[0]);
    assert_eq!(*conditions.hosts, ["a.test".into(), "*.b.test".into()]);
    assert_eq!(conditions.path, PathCondition::Prefix("/v1".into()));
    assert_eq!(*conditions.methods, ["GET".into()]);
    let fields = [
        FieldCondition { name: "x-a".into(), value: Some("1".into()) },
        FieldCondition { name: "x-b".into(), value: None },
    ];
    assert_eq!(*conditions.fields, fields);
    assert_eq!(conditions.identity.len(), 1);
    assert_eq!(route.rules.allowed().map(<[_]>::len), Some(1));
    assert_eq!((route.rules.denied().len(), route.cluster), (1, 1));
    let timeouts = &route.timeouts;
    assert_eq!((timeouts.first_byte, timeouts.stream), (Some(Duration::from_millis(1)), None));
    assert_eq!(timeouts.body, Duration::from_millis(2));
    assert_eq!(timeouts.total, Some(Duration::from_millis(3)));
    assert_eq!((route.retries.max, route.retries.budget_percent), (4, 5));
    assert_eq!(route.rewrite, Some(Rewrite { from: "/v1".into(), to: "/".into() }));
    assert_eq!((route.request_body_bytes_max, route.request_head_bytes_max), (Some(6), 2000));
    let rate = |limiter: &Option<Arc<crate::route::rate::RateLimiter>>| {
        limiter.as_ref().map(|it| it.rate().to_string())
    };
    assert_eq!(rate(&route.rate_per_identity).as_deref(), Some("7/m burst 7"));
    assert_eq!(rate(&route.rate_per_source).as_deref(), Some("8/s burst 9"));
}

#[test]
fn fields_are_set_added_and_removed() {
    let table = table(&with(
        "request_headers_set = [\"X-Team: pay  ments \"]\nrequest_headers_add = [\"x-b: 1\"]\n\
         request_headers_remove = [\"X-C\", \"x-team\"]\nresponse_headers_set = [\"Server:\"]\n\
         response_headers_add = [\"x-d: a:b\"]\nresponse_headers_remove = [\"x-e\"]",
    ));
    let route = &table.routes()[0];
    let removed = |names: &[Box<[u8]>]| {
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(removed(&route.request_fields.remove), ["x-team", "x-c"]);
    assert_eq!(*route.request_fields.lines, *b"x-team: pay  ments\r\nx-b: 1\r\n");
    assert_eq!(removed(&route.response_fields.remove), ["server", "x-e"]);
    assert_eq!(*route.response_fields.lines, *b"server: \r\nx-d: a:b\r\n");
}

#[test]
fn the_listeners_upstream_is_the_last_resort_or_not_there() {
    let routes = "[[listener.route]]\nname = \"a\"\nhost = [\"a.test\"]\nupstream = \"web\"\n";
    let both = table(&routed(routes));
    let cluster = |table: &Table, index: usize| table.routes()[index].cluster;
    assert_eq!((cluster(&both, 0), cluster(&both, 1)), (1, 0));
    let alone = routed(routes).replace("upstream = \"app\"\n", "");
    assert_eq!(table(&alone).routes().len(), 1);
    assert_eq!(right(&alone).listeners[0].cluster, 1);
    let without = refusal(&alone.replace("upstream = \"web\"\n", ""));
    assert_eq!(
        without,
        "r.toml:15:1: [[listener.route]] has no key `upstream`, and its listener has none; \
         expected it to be set; fix: add `upstream = \"app\"`, here or to the listener"
    );
    let useless = refusal(&routed("[[listener.route]]\nname = \"a\"\nupstream = \"web\"\n"));
    assert_eq!(
        useless,
        "r.toml:10:12: upstream is set, and a route takes every request; expected it only as the \
         last resort, or for routes without one of their own; fix: remove it, or the route"
    );
    table(&with(""));
}

#[test]
fn a_route_that_is_never_chosen_is_refused() {
    let two = |first: &str, second: &str| {
        let route =
            |name: &str, line: &str| format!("[[listener.route]]\nname = \"{name}\"\n{line}\n");
        routed(&(route("a", first) + &route("b", second)))
    };
    for (first, second) in [
        ("path_prefix = \"/a\"", "path = \"/a/b\""),
        ("path_prefix = \"/a\"", "path_prefix = \"/a/b\"\nhost = [\"a.test\"]"),
        ("host = [\"*.a.test\"]", "host = [\"x.a.test\", \"y.a.test\"]"),
        ("method = [\"GET\", \"PUT\"]", "method = [\"PUT\"]\nheader = [\"x\"]"),
        ("header = [\"x\"]", "header = [\"x: 1\"]"),
        ("identity = [\"any\", \"dns:a.test\"]", "identity = [\"dns:a.test\"]"),
        ("", ""),
    ] {
        assert_eq!(
            refusal(&two(first, second)),
            format!(
                "r.toml:{}:1: this route is never chosen: that at r.toml:16:1 takes all its \
                 requests; expected a route that takes less in front of one that takes more; \
                 fix: move it in front of that one, or remove it",
                19 + first.matches('\n').count()
            )
        );
        if first != second {
            right(&two(second, first));
        }
    }
    right(&two("path_prefix = \"/a/\"", "path = \"/a\""));
}

#[test]
fn each_mistake_in_a_route_is_refused_where_it_is() {
    for (line, message) in [
        ("host = [\"a.test:80\"]", "host = \"a.test:80\" is not one to choose by; expected a host"),
        ("host = [\"a.test.\"]", "fix: write \"a.test\""),
        ("host = [\"*\"]", "fix: correct it, such as"),
        ("host = []", "host is an empty list"),
        ("host = [\"a\", \"a\"]", "host = \"a\", as at r.toml:18:9; expected each once"),
        ("path = \"a\"", "path = \"a\" is no path of a request"),
        ("path = \"/a?b\"", "is no path as routes see it; "),
        ("path = \"/%61\"", "fix: write \"/a\""),
        ("path = \"//\"", "fix: write \"/\""),
        ("path = \"*\"", "path = \"*\" is no path"),
        ("path_prefix = \"/a/../b\"", "has a dot segment; "),
        ("path = \"/a;b/c\"", "has a parameter; expected a path without `;`"),
        ("path_prefix = \"/a%3Bb\"", "fix: remove `;` and what follows it"),
        ("path = \"/a%2Fb\"", "is no path of a request"),
        ("path = \"/\"\npath_prefix = \"/\"", "path_prefix is set, and so is `path`"),
        ("method = [\"get\"]", "method = \"get\" is no method; "),
        ("method = [\"get\"]", "fix: write \"GET\""),
        ("method = [\"G T\"]", "fix: correct it"),
        ("header = [\"a b\"]", "header = \"a b\" has no name of a field"),
        ("header = [\": 1\"]", "has no name of a field"),
        ("header = [\"host: a\"]", "fix: ask for it with `host`"),
        ("header = [\"connection\"]", "is not one to choose by"),
        (
            "header = [\"X-Forwarded-Client-Cert\"]",
            "fix: ask for the client itself, with `identity`",
        ),
        ("identity = [\"nobody\"]", "identity = \"nobody\" is not a pattern"),
        ("identity = []", "identity is an empty list, which takes nobody's requests"),
        ("allow = []", "allow is an empty list, which admits nobody"),
        ("deny = [\"x\"]", "deny = \"x\" is not a pattern"),
        ("path = \"/\"\nupstream = \"apx\"", "upstream = \"apx\", which no [[upstream]] has"),
        ("retries = 0\nretry_budget_percent = 5", "retry_budget_percent is set, and retries = 0"),
        ("prefix_rewrite = \"/\"", "prefix_rewrite is set, and the route has no `path_prefix`"),
        ("path_prefix = \"/\"\nprefix_rewrite = \"a\"", "prefix_rewrite = \"a\" is no path"),
        (
            "request_head_bytes_max = 20000",
            "at most head_bytes_max of the listener, which is 16384",
        ),
        ("rate_per_source = \"1\"", "rate_per_source = \"1\" is no rate; expected a number from 1"),
        ("rate_per_identity = \"0/s\"", "rate_per_identity = \"0/s\" is no rate"),
        ("request_headers_set = [\"x-a\"]", "request_headers_set = \"x-a\" has no colon"),
        ("request_headers_add = [\"x-a: \\r\\nb\"]", "has one in its value"),
        ("request_headers_set = [\"x-a: \\u0000\"]", "has one in its value"),
        ("request_headers_set = [\"a: 1\", \"A: 2\"]", "request_headers_set sets a twice"),
        ("request_headers_set = [\"Content-Length: 1\"]", "says where a message goes or ends"),
        ("request_headers_remove = [\"Host\"]", "says where a message goes or ends"),
        ("response_headers_add = [\"Connection: x\"]", "is of one connection only"),
        ("request_headers_add = [\"X_SSL_Client_Verify: x\"]", "says who the client is"),
        ("request_headers_add = [\"X-Forwarded-For: x\"]", "says where a request came from"),
        ("name = \"b\"", "duplicate key"),
        ("colour = 1", "unknown key `colour`"),
    ] {
        let error = refusal(&with(line));
        assert!(error.contains(message), "{line}: {error}");
        assert!(error.contains("; expected ") && error.contains("; fix: "), "{error}");
        let place = error.split(": ").next().unwrap_or_default().to_string();
        assert!(place.starts_with("r.toml:18:") || place.starts_with("r.toml:19:"), "{error}");
    }
}

#[test]
fn names_of_routes_are_their_own() {
    let named = |names: &[&str]| {
        let route = |(index, name): (usize, &&str)| {
            format!("[[listener.route]]\nname = \"{name}\"\npath = \"/{index}\"\n")
        };
        routed(&names.iter().enumerate().map(route).collect::<String>())
    };
    right(&named(&["a", "b"]));
    assert!(refusal(&named(&["a", "a"])).contains("name = \"a\", as at r.toml:17:8"));
    assert!(refusal(&named(&["default"])).contains("which is the route to the listener's own"));
    right(
        &named(&["default"])
            .replace("upstream = \"app\"\n", "")
            .replace("path = \"/0\"", "upstream = \"web\""),
    );
    let nameless = refusal(&routed("[[listener.route]]\npath = \"/\"\n"));
    assert!(nameless.contains("[[listener.route]] has no key `name`"), "{nameless}");
}

#[test]
fn identities_have_no_meaning_where_no_certificate_is_asked_for() {
    for line in ["identity = [\"any\"]", "allow = [\"any\"]", "deny = [\"any\"]"] {
        let off = with(line).replace("client_ca = \"clients.pem\"", "client_auth = \"off\"");
        let error = refusal(&off);
        assert!(error.contains("and client_auth = \"off\" asks for no certificate"), "{error}");
        right(&with(line));
    }
}

#[test]
fn what_routes_hold_is_bounded() {
    let list = |count: usize| {
        let texts: Vec<String> = (0..count).map(|it| format!("\"h{it}\"")).collect();
        with(&format!("host = [{}]", texts.join(", ")))
    };
    right(&list(ROUTE_VALUES_MAX));
    assert!(refusal(&list(ROUTE_VALUES_MAX + 1)).contains("host lists 65; expected at most 64"));
    let path = |bytes: usize| with(&format!("path = \"/{}\"", "a".repeat(bytes - 1)));
    right(&path(ROUTE_PATH_BYTES_MAX));
    assert!(refusal(&path(ROUTE_PATH_BYTES_MAX + 1)).contains("path has 1025 bytes"));
    let field = |bytes: usize| with(&format!("header = [\"x: {}\"]", "a".repeat(bytes - 3)));
    right(&field(ROUTE_FIELD_BYTES_MAX));
    assert!(refusal(&field(ROUTE_FIELD_BYTES_MAX + 1)).contains("header has a field of 4097"));
    let many = |count: usize| {
        let route = |it| format!("[[listener.route]]\nname = \"r{it}\"\nhost = [\"h{it}.test\"]\n");
        routed(&(0..count).map(route).collect::<String>())
    };
    assert_eq!(table(&many(ROUTES_MAX)).routes().len(), ROUTES_MAX + 1);
    assert!(refusal(&many(ROUTES_MAX + 1)).contains("has 1025 tables [[listener.route]]"));
}

#[test]
fn routes_have_no_meaning_for_bytes() {
    let text = with("path = \"/\"").replace("protocol = \"http\"", "");
    let errors = resolved(&text).expect_err("refused");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].starts_with("r.toml:16:1: [[listener.route]] is set, and the"),
        "{errors:#?}"
    );
}
