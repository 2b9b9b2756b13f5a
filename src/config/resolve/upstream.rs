//! `[[upstream]]` -> [`Cluster`].
//!
//! Nothing that is written is ignored: what only HTTP uses is refused of an upstream that bytes are
//! relayed to.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::{Resolver, address, bounds};
use crate::config::model;
use crate::config::snapshot::{Balance, Cluster, ClusterOptions, Listener, Target, UpstreamHttp};
use crate::limits::{ENDPOINTS_MAX, UPSTREAMS_MAX};

const BALANCES: &[(&str, Balance)] =
    &[("round_robin", Balance::RoundRobin), ("least_connections", Balance::LeastConnections)];

/// What `protocol` may be: whether it is HTTP/2.
const PROTOCOLS: &[(&str, bool)] = &[("http1", false), ("http2", true)];

impl Resolver<'_> {
    pub(super) fn clusters(&mut self) -> Vec<Arc<Cluster>> {
        let upstreams = &self.model.upstream;
        let names = upstreams.iter().map(|upstream| upstream.get_ref().name.as_ref());
        self.refuse_duplicates("name", names.flatten());
        match upstreams.as_slice() {
            [] => self.refuse_absent(
                "no upstream is configured",
                "at least one table [[upstream]]",
                "add `[[upstream]]` with `name` and `endpoints` (or the flag --to)",
            ),
            _ if upstreams.len() > UPSTREAMS_MAX => self.refuse_absent(
                &format!("{} upstreams are configured", upstreams.len()),
                &format!("at most {UPSTREAMS_MAX}"),
                "remove some, or run a second gateway",
            ),
            _ => {}
        }
        let within = upstreams.iter().take(UPSTREAMS_MAX);
        within.map(|upstream| Arc::new(self.cluster(upstream))).collect()
    }

    fn cluster(&mut self, written: &Spanned<model::Upstream>) -> Cluster {
        let upstream = written.get_ref();
        let name = self.name(upstream.name.as_ref(), written.span(), "[[upstream]]");
        let targets = self.targets(written);
        Cluster::new(ClusterOptions {
            name: name.into(),
            targets,
            balance: self.choice(
                upstream.balance.as_ref(),
                "balance",
                BALANCES,
                Balance::RoundRobin,
            ),
            connect_timeout: self
                .millis(upstream.connect_timeout_ms.as_ref(), &bounds::CONNECT_TIMEOUT_MS),
            resolve_interval: self
                .millis(upstream.resolve_interval_ms.as_ref(), &bounds::RESOLVE_INTERVAL_MS),
            http: self.upstream_http(written),
        })
    }

    fn upstream_http(&mut self, written: &Spanned<model::Upstream>) -> UpstreamHttp {
        let upstream = written.get_ref();
        let http2 = self.choice(upstream.protocol.as_ref(), "protocol", PROTOCOLS, false);
        let idle_max = upstream.idle_connections_max.as_ref();
        let requests_max = upstream.requests_max.as_ref();
        let requests_max = self.count(requests_max, &bounds::UPSTREAM_REQUESTS_MAX);
        UpstreamHttp {
            http2,
            tls: self.upstream_tls(written, http2),
            idle_max: self.count(idle_max, &bounds::UPSTREAM_IDLE_CONNECTIONS_MAX) as usize,
            idle_timeout: self
                .millis(upstream.idle_timeout_ms.as_ref(), &bounds::UPSTREAM_IDLE_TIMEOUT_MS),
            requests_max: Some(u64::from(requests_max)).filter(|max| *max > 0),
            age_max: self.optional_millis(
                upstream.connection_age_max_ms.as_ref(),
                &bounds::UPSTREAM_CONNECTION_AGE_MAX_MS,
            ),
        }
    }

    /// Refuses what is written of an upstream and used by nobody: a listener of TCP relays bytes as
    /// they are. Of an upstream that no listener names nothing is used, and nothing is refused.
    pub(super) fn refuse_unused_http(&mut self, listeners: &[Arc<Listener>]) {
        if listeners.len() != self.model.listener.len() {
            // One was refused, and could be the one that uses it.
            return;
        }
        for (index, written) in self.model.upstream.iter().enumerate() {
            let relays = listeners.iter().find(|it| it.http.is_none() && it.cluster == index);
            let Some(relays) = relays else { continue };
            let http = listeners.iter().any(|it| has_http_to(it, index));
            for (key, span) in http_keys(written.get_ref()) {
                if http && key != "tls" {
                    continue;
                }
                self.refuse(
                    &span,
                    &format!(
                        "{key} is set, and listener {:?}, whose protocol is \"tcp\", relays to \
                         this upstream",
                        relays.name
                    ),
                    "an upstream of HTTP listeners, for bytes are relayed as they are",
                    "set `protocol = \"http\"` in the listener, remove the key, or add an \
                     [[upstream]] of its own",
                );
            }
        }
    }

    fn targets(&mut self, written: &Spanned<model::Upstream>) -> Vec<Target> {
        let expected = format!("1 to {ENDPOINTS_MAX} endpoints");
        let Some(endpoints) = &written.get_ref().endpoints else {
            self.refuse(
                &written.span(),
                "[[upstream]] has no key `endpoints`",
                &expected,
                "add `endpoints = [\"127.0.0.1:9000\"]`",
            );
            return Vec::new();
        };
        let texts = endpoints.get_ref();
        if texts.is_empty() || texts.len() > ENDPOINTS_MAX {
            let found = format!("endpoints lists {}", texts.len());
            self.refuse(&endpoints.span(), &found, &expected, "list what the upstream runs on");
        }
        self.refuse_duplicates("endpoints", texts.iter());
        let mut targets = Vec::new();
        for text in texts {
            match address::target(text.get_ref(), &self.model.folder) {
                Ok(target) => targets.push(target),
                Err(complaint) => self.complain("endpoints", text, complaint),
            }
        }
        targets
    }
}

/// Whether requests of a listener go to the cluster at `index`.
fn has_http_to(listener: &Listener, index: usize) -> bool {
    let Some(http) = &listener.http else { return false };
    listener.cluster == index || http.routes.routes().iter().any(|route| route.cluster == index)
}

/// The keys that only HTTP uses, as far as they are written, and where. Those of TLS are refused
/// without `tls`, which stands for them.
fn http_keys(upstream: &model::Upstream) -> Vec<(&'static str, Range<usize>)> {
    let number = |key, number: &Option<model::Number>| Some((key, number.as_ref()?.span()));
    let protocol = upstream.protocol.as_ref().map(|it| ("protocol", it.span()));
    let tls = upstream.tls.as_ref().filter(|it| *it.get_ref()).map(|it| ("tls", it.span()));
    let keys = [
        protocol,
        tls,
        number("idle_connections_max", &upstream.idle_connections_max),
        number("idle_timeout_ms", &upstream.idle_timeout_ms),
        number("requests_max", &upstream.requests_max),
        number("connection_age_max_ms", &upstream.connection_age_max_ms),
    ];
    keys.into_iter().flatten().collect()
}
