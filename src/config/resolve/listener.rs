//! `[[listener]]` -> [`Listener`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use toml::Spanned;

use super::http::{PROTOCOLS, Protocol};
use super::{Complaint, Resolver, address, bounds};
use crate::config::model::{self, Text};
use crate::config::snapshot::{Listener, SocketOptions};
use crate::limits::{
    ALPN_PROTOCOL_BYTES_MAX, ALPN_PROTOCOLS_MAX, LISTENER_CERTIFICATES_MAX, LISTENERS_MAX,
    NAME_BYTES_MAX, NAMES_SHOWN_MAX,
};
use crate::tls::server::{Certificate, ListenerTls, ListenerTlsOptions};

impl Resolver<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Arc<Listener>> {
        let listeners = &self.model.listener;
        let names = listeners.iter().map(|listener| listener.get_ref().name.as_ref());
        self.refuse_duplicates("name", names.flatten());
        match listeners.as_slice() {
            [] => self.refuse_absent(
                "no listener is configured",
                "at least one table [[listener]]",
                "add `[[listener]]` with `name`, `address` and `upstream` (or the flag --listen)",
            ),
            _ if listeners.len() > LISTENERS_MAX => self.refuse_absent(
                &format!("{} listeners are configured", listeners.len()),
                &format!("at most {LISTENERS_MAX}"),
                "remove some, or run a second gateway",
            ),
            _ => {}
        }
        let mut taken = Vec::new();
        // What is beyond the bound is refused as a whole, and none of its files is read.
        listeners
            .iter()
            .take(LISTENERS_MAX)
            .filter_map(|listener| self.listener(listener, &mut taken))
            .map(Arc::new)
            .collect()
    }

    fn listener(
        &mut self,
        written: &Spanned<model::Listener>,
        taken: &mut Vec<(SocketAddr, bool, std::ops::Range<usize>)>,
    ) -> Option<Listener> {
        let listener = written.get_ref();
        let name = self.name(listener.name.as_ref(), written.span(), "[[listener]]");
        let (address, dual_stack) = self.listen_address(written, taken);
        let protocol =
            self.choice(listener.protocol.as_ref(), "protocol", PROTOCOLS, Protocol::Tcp);
        // Routes may each have their own.
        let has_own = protocol == Protocol::Tcp || listener.route.is_empty();
        let upstream =
            (has_own || listener.upstream.is_some()).then(|| self.cluster_index(written));
        let http = self.http(written, protocol, upstream);
        let first = http.as_ref().and_then(|http| http.routes.routes().first());
        let cluster = upstream.or(first.map(|route| route.cluster)).unwrap_or(0);
        let (crypto, provider) = self.crypto(listener)?;
        let provider = Arc::new(provider);
        let versions = self.versions(listener, crypto, &provider);
        let certificates = self.certificates(written, &provider);
        let scopes = self.scopes(written, &name, &provider);
        let sessions = self.sessions(listener);
        let lapse_drain = self.lapse_drain(listener.lapsed_connections.as_ref());
        let mut alpn = self.alpn(listener);
        if protocol == Protocol::Http {
            alpn = self.http_alpn(listener.alpn.as_ref(), alpn);
        }
        let key_log = listener.key_log.as_ref().and_then(|text| self.key_log(text));
        let handshake_timeout =
            self.millis(listener.handshake_timeout_ms.as_ref(), &bounds::HANDSHAKE_TIMEOUT_MS);
        let idle_timeout = self.millis(listener.idle_timeout_ms.as_ref(), &bounds::IDLE_TIMEOUT_MS);
        let connection_age_max = self.optional_millis(
            listener.connection_age_max_ms.as_ref(),
            &bounds::CONNECTION_AGE_MAX_MS,
        );
        let socket = self.socket_options(listener, dual_stack);
        let options = ListenerTlsOptions { provider, versions, alpn, key_log, time: None };
        Some(Listener {
            name: name.into(),
            address,
            socket,
            crypto,
            tls: self.tls(written, &certificates, options)?,
            scopes: scopes?,
            sessions: sessions?,
            lapse_drain,
            cluster,
            handshake_timeout,
            idle_timeout,
            connection_age_max,
            http,
        })
    }

    fn tls(
        &mut self,
        written: &Spanned<model::Listener>,
        certificates: &[Certificate],
        options: ListenerTlsOptions,
    ) -> Option<ListenerTls> {
        // What is missing here was refused where it was found.
        if certificates.is_empty() || options.versions.is_empty() {
            return None;
        }
        ListenerTls::new(certificates, options)
            .map_err(|error| {
                self.refuse(
                    &written.span(),
                    &format!("no TLS configuration can be built: {error}"),
                    "versions, suites and groups that work together",
                    "remove `tls_versions`, `suites` and `groups` for the defaults",
                );
            })
            .ok()
    }

    fn listen_address(
        &mut self,
        written: &Spanned<model::Listener>,
        taken: &mut Vec<(SocketAddr, bool, std::ops::Range<usize>)>,
    ) -> (SocketAddr, bool) {
        let nowhere = (SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), false);
        let text = written.get_ref().address.as_ref();
        let Some(text) = self.required(text, &written.span(), "[[listener]]", "address", ":8443")
        else {
            return nowhere;
        };
        let (address, dual_stack) = match address::listen(text.get_ref()) {
            Ok(parsed) => parsed,
            Err(complaint) => {
                self.complain("address", text, complaint);
                return nowhere;
            }
        };
        let collides = taken.iter().find(|(other, other_dual_stack, _)| {
            address::collide((address, dual_stack), (*other, *other_dual_stack))
        });
        if let Some((_, _, earlier)) = collides {
            let at = self.model.source.place(earlier);
            self.refuse(
                &text.span(),
                &format!("address = {:?} is taken by the listener at {at}", text.get_ref()),
                "an address of its own for each listener",
                "change the port of one of them",
            );
        }
        taken.push((address, dual_stack, text.span()));
        (address, dual_stack)
    }

    fn cluster_index(&mut self, written: &Spanned<model::Listener>) -> usize {
        let text = written.get_ref().upstream.as_ref();
        let Some(text) = self.required(text, &written.span(), "[[listener]]", "upstream", "app")
        else {
            return 0;
        };
        self.cluster_named(text)
    }

    /// The upstream of this name; where there is none, the first, so that the other checks go on.
    pub(super) fn cluster_named(&mut self, text: &Text) -> usize {
        let names: Vec<&str> = self
            .model
            .upstream
            .iter()
            .filter_map(|upstream| upstream.get_ref().name.as_ref())
            .map(|name| name.get_ref().as_str())
            .filter(|name| name.len() <= NAME_BYTES_MAX)
            .collect();
        // By position in the tables, not among the names: a nameless upstream keeps its place.
        let index = self.model.upstream.iter().position(|upstream| {
            upstream.get_ref().name.as_ref().is_some_and(|name| name.get_ref() == text.get_ref())
        });
        index.unwrap_or_else(|| {
            let found = format!("upstream = {:?}, which no [[upstream]] has", text.get_ref());
            let expected = match names.as_slice() {
                [] => "the name of an [[upstream]]".to_string(),
                names => match names.split_at_checked(NAMES_SHOWN_MAX) {
                    Some((shown, [_, ..])) => {
                        format!("one of the {}: {}, ...", names.len(), shown.join(", "))
                    }
                    _ => format!("one of {}", names.join(", ")),
                },
            };
            self.refuse(&text.span(), &found, &expected, "correct the name, or add the upstream");
            0
        })
    }

    fn certificates(
        &mut self,
        written: &Spanned<model::Listener>,
        provider: &CryptoProvider,
    ) -> Vec<Certificate> {
        let certificates = &written.get_ref().certificate;
        if certificates.is_empty() || certificates.len() > LISTENER_CERTIFICATES_MAX {
            self.refuse(
                &written.span(),
                &format!("[[listener]] has {} certificates", certificates.len()),
                &format!("1 to {LISTENER_CERTIFICATES_MAX}"),
                "add `[[listener.certificate]]` with `chain` and `key` below it, one per name",
            );
        }
        certificates
            .iter()
            .take(LISTENER_CERTIFICATES_MAX)
            .filter_map(|certificate| self.certificate(certificate, provider))
            .collect()
    }

    fn certificate(
        &mut self,
        written: &Spanned<model::Certificate>,
        provider: &CryptoProvider,
    ) -> Option<Certificate> {
        let what = "[[listener.certificate]]";
        let model::Certificate { chain, key } = written.get_ref();
        let chain = self.required(chain.as_ref(), &written.span(), what, "chain", "server.pem");
        let key = self.required(key.as_ref(), &written.span(), what, "key", "server.key");
        self.own_certificate(("chain", chain), ("key", key), provider)
    }

    fn alpn(&mut self, listener: &model::Listener) -> Vec<Vec<u8>> {
        let Some(written) = &listener.alpn else {
            return Vec::new();
        };
        self.refuse_empty_list(written, "alpn");
        self.refuse_duplicates("alpn", written.get_ref().iter());
        if written.get_ref().len() > ALPN_PROTOCOLS_MAX {
            let found = format!("alpn lists {} protocols", written.get_ref().len());
            let expected = format!("at most {ALPN_PROTOCOLS_MAX}");
            self.refuse(&written.span(), &found, &expected, "remove some");
        }
        for text in written.get_ref() {
            let bytes = text.get_ref().len();
            if !(1..=ALPN_PROTOCOL_BYTES_MAX).contains(&bytes) {
                let found = format!("alpn has a name of {bytes} bytes");
                let expected = format!("names of 1 to {ALPN_PROTOCOL_BYTES_MAX} bytes");
                self.refuse(&text.span(), &found, &expected, "correct the name, such as \"h2\"");
            }
        }
        written.get_ref().iter().map(|text| text.get_ref().clone().into_bytes()).collect()
    }

    fn key_log(&mut self, text: &Text) -> Option<Arc<dyn rustls::KeyLog>> {
        let path: PathBuf = self.path("key_log", text)?;
        self.context
            .files
            .key_log(&path)
            .map_err(|error| {
                let found = format!("cannot be opened: {} ({error})", path.display());
                let complaint = Complaint::new(
                    found,
                    "a file that the program may append to",
                    "correct the path or its permissions, or remove `key_log`",
                );
                self.complain("key_log", text, complaint);
            })
            .ok()
    }

    fn socket_options(&mut self, listener: &model::Listener, dual_stack: bool) -> SocketOptions {
        let keepalive_s = self.count(listener.keepalive_s.as_ref(), &bounds::KEEPALIVE_S);
        let keepalive = Duration::from_secs(u64::from(keepalive_s));
        SocketOptions {
            dual_stack,
            user_timeout: self.optional_millis(
                listener.tcp_user_timeout_ms.as_ref(),
                &bounds::TCP_USER_TIMEOUT_MS,
            ),
            keepalive: Some(keepalive).filter(|keepalive| !keepalive.is_zero()),
            send_buffer_bytes: listener
                .send_buffer_bytes
                .as_ref()
                .map(|bytes| self.count(Some(bytes), &bounds::SEND_BUFFER_BYTES)),
            recv_buffer_bytes: listener
                .recv_buffer_bytes
                .as_ref()
                .map(|bytes| self.count(Some(bytes), &bounds::RECV_BUFFER_BYTES)),
            backlog: self.count(listener.backlog.as_ref(), &bounds::BACKLOG),
        }
    }
}
