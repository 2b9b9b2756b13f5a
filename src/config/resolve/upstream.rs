//! `[[upstream]]` -> [`Cluster`].

use std::sync::Arc;

use toml::Spanned;

use super::{Resolver, address, bounds};
use crate::config::model;
use crate::config::snapshot::{Balance, Cluster, ClusterOptions, Target, UpstreamHttp};
use crate::limits::{ENDPOINTS_MAX, UPSTREAMS_MAX};

const BALANCES: &[(&str, Balance)] =
    &[("round_robin", Balance::RoundRobin), ("least_connections", Balance::LeastConnections)];

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
            http: UpstreamHttp::default(),
        })
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
