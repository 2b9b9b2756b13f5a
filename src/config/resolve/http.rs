//! The keys of a listener that speaks HTTP -> [`HttpOptions`].

use std::sync::Arc;

use toml::Spanned;

use super::route::OfListener;
use super::{Resolver, bounds};
use crate::attest::{Signer, Telling};
use crate::config::model::{self, Text, Texts};
use crate::config::snapshot::{Forwarding, Http2Options, HttpOptions};
use crate::http1::request::HeadLimits;
use crate::route::path::EncodedSlashes;

/// What a listener speaks inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Http,
}

/// What `protocol` may be.
pub(super) const PROTOCOLS: &[(&str, Protocol)] =
    &[("tcp", Protocol::Tcp), ("http", Protocol::Http)];

/// What a client may choose of an HTTP listener (RFC 9113, 3.1; RFC 7301, 6), most preferred first.
const HTTP_PROTOCOLS: [&[u8]; 2] = [b"h2", HTTP1];

const HTTP1: &[u8] = b"http/1.1";

/// What `x_forwarded` and `forwarded` may be.
const FORWARDINGS: &[(&str, Forwarding)] = &[
    ("off", Forwarding::Off),
    ("set", Forwarding::Set),
    ("append", Forwarding::Append),
    ("pass", Forwarding::Pass),
];

/// What `identity_headers` may list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdentityHeader {
    ClientCert,
    ClientCertChain,
    Xfcc,
    Signed,
}

const IDENTITY_HEADERS: &[(&str, IdentityHeader)] = &[
    ("client-cert", IdentityHeader::ClientCert),
    ("client-cert-chain", IdentityHeader::ClientCertChain),
    ("xfcc", IdentityHeader::Xfcc),
    ("signed", IdentityHeader::Signed),
];

impl Resolver<'_> {
    /// How the listener speaks HTTP, where it does; `upstream` is its own, the last resort of its
    /// requests.
    pub(super) fn http(
        &mut self,
        written: &Spanned<model::Listener>,
        protocol: Protocol,
        upstream: Option<usize>,
    ) -> Option<Arc<HttpOptions>> {
        let listener = written.get_ref();
        if protocol == Protocol::Tcp {
            self.refuse_http_keys(listener);
            return None;
        }
        let silent = model::Http::default();
        let keys = listener.http.as_ref().map_or(&silent, Spanned::get_ref);
        let head = HeadLimits {
            bytes_max: self.count(keys.head_bytes_max.as_ref(), &bounds::HEAD_BYTES_MAX) as usize,
            fields_max: self.count(keys.head_fields_max.as_ref(), &bounds::HEAD_FIELDS_MAX)
                as usize,
        };
        let slashes = match keys.encoded_slashes {
            Some(true) => EncodedSlashes::Kept,
            Some(false) | None => EncodedSlashes::Refused,
        };
        let http1 = listener.alpn.as_ref().map(|names| names.get_ref()).is_none_or(|names| {
            names.is_empty() || names.iter().any(|name| name.get_ref().as_bytes() == HTTP1)
        });
        let requests_max = self.number(keys.requests_max.as_ref(), &bounds::REQUESTS_MAX);
        Some(Arc::new(HttpOptions {
            routes: self.routes(written, upstream, OfListener { head, slashes }),
            head,
            encoded_slashes: slashes,
            http1,
            head_timeout: self.millis(keys.head_timeout_ms.as_ref(), &bounds::HEAD_TIMEOUT_MS),
            keep_alive_timeout: self
                .millis(keys.keep_alive_timeout_ms.as_ref(), &bounds::KEEP_ALIVE_TIMEOUT_MS),
            requests_max: Some(requests_max.unsigned_abs()).filter(|it| *it > 0),
            via: keys.via.unwrap_or(true),
            via_of_responses: keys.via.unwrap_or(false),
            x_forwarded: self.forwarding("x_forwarded", keys.x_forwarded.as_ref(), Forwarding::Set),
            forwarded: self.forwarding("forwarded", keys.forwarded.as_ref(), Forwarding::Off),
            telling: self.telling(keys.identity_headers.as_ref()),
            problem_details: keys.problem_details.unwrap_or(false),
            http2: self.http2(keys, head),
        }))
    }

    /// What is said about HTTP where bytes are relayed as they are has no effect, and who wrote it
    /// believes that it has.
    fn refuse_http_keys(&mut self, listener: &model::Listener) {
        let tables = [
            ("[listener.http]", listener.http.as_ref().map(Spanned::span)),
            ("[[listener.route]]", listener.route.first().map(Spanned::span)),
        ];
        for (table, span) in tables {
            if let Some(span) = span {
                self.refuse(
                    &span,
                    &format!("{table} is set, and the listener's protocol is \"tcp\""),
                    "it only with `protocol = \"http\"`",
                    "set that, or remove the table",
                );
            }
        }
    }

    fn forwarding(&mut self, key: &str, text: Option<&Text>, default: Forwarding) -> Forwarding {
        self.choice(text, key, FORWARDINGS, default)
    }

    fn telling(&mut self, written: Option<&Texts>) -> Telling {
        let names = IDENTITY_HEADERS.iter().map(|(name, _)| *name);
        let parse = |text: &str| IDENTITY_HEADERS.iter().find(|(name, _)| *name == text).copied();
        let told = self.known_list(written, "identity_headers", names, parse).unwrap_or_default();
        let tells = |header| told.contains(&header);
        Telling {
            client_cert: tells(IdentityHeader::ClientCert),
            client_cert_chain: tells(IdentityHeader::ClientCertChain),
            xfcc: tells(IdentityHeader::Xfcc),
            token: tells(IdentityHeader::Signed).then(|| self.signer_for(written)),
        }
    }

    /// What signs the identities that `written` asks for. Its public key must be there for
    /// upstreams to verify by, or nobody could tell a forged identity from another.
    fn signer_for(&mut self, written: Option<&Texts>) -> Arc<Signer> {
        let has_key = self.model.admin.is_some() || self.model.identity.key.is_some();
        if let Some(written) = written.filter(|_| !has_key) {
            self.refuse(
                &written.span(),
                "identity_headers lists \"signed\", and upstreams can get no key to verify by",
                "[admin] address, whose listener publishes the key, or [identity] key",
                "set one of the two",
            );
        }
        Arc::clone(&self.signer)
    }

    /// A list of fields becomes a head, in which each takes less room than it counts for: so every
    /// list that is announced to be taken fits.
    fn header_list(&mut self, keys: &model::Http, head: HeadLimits) -> u32 {
        let fitting = u32::try_from(head.bytes_max).unwrap_or(u32::MAX);
        let Some(written) = &keys.http2_header_list_bytes_max else {
            return fitting;
        };
        let bytes = self.count(Some(written), &bounds::HTTP2_HEADER_LIST_BYTES_MAX);
        if i64::from(bytes) == *written.get_ref() && bytes > fitting {
            self.refuse(
                &written.span(),
                &format!("http2_header_list_bytes_max = {bytes}"),
                &format!("at most head_bytes_max, which is {fitting}"),
                "remove it, which makes them the same, or raise head_bytes_max",
            );
        }
        bytes
    }

    fn http2(&mut self, keys: &model::Http, head: HeadLimits) -> Http2Options {
        Http2Options {
            streams_max: self.count(keys.http2_streams_max.as_ref(), &bounds::HTTP2_STREAMS_MAX),
            header_list_bytes_max: self.header_list(keys, head),
            stream_window_bytes: self
                .count(keys.http2_stream_window_bytes.as_ref(), &bounds::HTTP2_STREAM_WINDOW_BYTES),
            connection_window_bytes: self.count(
                keys.http2_connection_window_bytes.as_ref(),
                &bounds::HTTP2_CONNECTION_WINDOW_BYTES,
            ),
            resets_max: self.count(keys.http2_resets_max.as_ref(), &bounds::HTTP2_RESETS_MAX),
            idle_frames_max: self
                .count(keys.http2_idle_frames_max.as_ref(), &bounds::HTTP2_IDLE_FRAMES_MAX),
        }
    }

    /// The protocols that an HTTP listener offers: what `alpn` says, and else both.
    pub(super) fn http_alpn(
        &mut self,
        written: Option<&Texts>,
        alpn: Vec<Vec<u8>>,
    ) -> Vec<Vec<u8>> {
        let Some(texts) = written else {
            return HTTP_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        };
        for text in texts.get_ref() {
            if !HTTP_PROTOCOLS.contains(&text.get_ref().as_bytes()) {
                self.refuse(
                    &text.span(),
                    &format!("alpn lists {:?}, and the listener speaks HTTP", text.get_ref()),
                    "\"h2\" and \"http/1.1\", or one of them",
                    "remove it, or remove `alpn` for both",
                );
            }
        }
        alpn
    }
}
