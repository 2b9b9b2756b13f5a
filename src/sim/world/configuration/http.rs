//! The listener that speaks HTTP, and its upstreams, as a plan has them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::attest::Telling;
use crate::config::snapshot::{
    Balance, Cluster, ClusterOptions, Http2Options, HttpOptions, Target, UpstreamHttp,
};
use crate::http1::request::HeadLimits;
use crate::limits::{
    CONNECTION_WINDOW_BYTES_DEFAULT, HEADER_LIST_BYTES_DEFAULT, IDLE_FRAMES_MAX_DEFAULT,
    RESETS_MAX_DEFAULT, STREAMS_MAX_DEFAULT, WINDOW_BYTES_DEFAULT,
};
use crate::route::conditions::{Conditions, PathCondition};
use crate::route::path::EncodedSlashes;
use crate::route::table::{FieldChanges, Retries, Route, Table, Timeouts};
use crate::sim::demands::Rules;
use crate::sim::http::plan::{FIELDS_MAX, HEAD_BYTES_MAX, HttpPlan};
use crate::sim::pki;
use crate::sim::plan::Plan;

/// The cluster behind those of the other listeners.
const CLUSTER: usize = 2;

/// Where its upstreams listen.
pub(super) fn targets(plan: &HttpPlan) -> Vec<Target> {
    let mut targets: Vec<Target> = (1..=plan.upstreams as u16)
        .map(|number| Target::Socket(SocketAddr::from(([10, 2, 0, 2], 8000 + number))))
        .collect();
    if plan.has_unix {
        targets.pop();
        targets.push(Target::Unix(PathBuf::from("/run/http.sock")));
    }
    targets
}

/// Its cluster.
pub(super) fn cluster(plan: &Plan, http: &HttpPlan, targets: &[Target]) -> Arc<Cluster> {
    Arc::new(Cluster::new(ClusterOptions {
        name: "http".into(),
        targets: targets.to_vec(),
        balance: Balance::RoundRobin,
        connect_timeout: plan.connect_timeout,
        resolve_interval: Duration::from_secs(30),
        http: UpstreamHttp {
            http2: false,
            tls: None,
            idle_max: http.idle_max,
            idle_timeout: http.idle_timeout,
            requests_max: http.upstream_requests_max,
            age_max: http.upstream_age_max,
        },
    }))
}

/// How it speaks HTTP. One route takes what clients ask for, and only whom `rules` allow.
pub(super) fn options(plan: &HttpPlan, rules: Rules) -> Arc<HttpOptions> {
    let rules = match rules {
        Rules::Open => crate::policy::Rules::unrestricted(),
        Rules::Wide => pki::rules(),
        Rules::Narrow => pki::narrower_rules(),
    };
    let route = Route {
        name: "requests".into(),
        rules,
        cluster: CLUSTER,
        timeouts: Timeouts {
            first_byte: Some(plan.first_byte_timeout),
            body: plan.body_timeout,
            stream: Some(plan.body_timeout),
            total: plan.total_timeout,
        },
        // No budget that a few requests could use up.
        retries: Retries { max: plan.retries_max, budget_percent: 100 },
        rewrite: None,
        request_fields: FieldChanges::default(),
        response_fields: FieldChanges::default(),
        request_body_bytes_max: plan.body_bytes_max,
        request_head_bytes_max: HEAD_BYTES_MAX,
        rate_per_identity: None,
        rate_per_source: None,
    };
    let conditions =
        Conditions { path: PathCondition::Prefix("/r".into()), ..Conditions::default() };
    Arc::new(HttpOptions {
        routes: Table::new(vec![(conditions, Arc::new(route))]),
        head: HeadLimits { bytes_max: HEAD_BYTES_MAX, fields_max: FIELDS_MAX },
        head_timeout: plan.head_timeout,
        keep_alive_timeout: plan.keep_alive_timeout,
        requests_max: plan.requests_max,
        encoded_slashes: EncodedSlashes::Refused,
        http1: true,
        via: plan.via,
        via_of_responses: plan.via,
        x_forwarded: plan.x_forwarded,
        forwarded: plan.forwarded,
        telling: Telling {
            client_cert: plan.client_cert,
            client_cert_chain: false,
            xfcc: plan.xfcc,
            token: None,
        },
        problem_details: plan.problem_details,
        http2: Http2Options {
            streams_max: STREAMS_MAX_DEFAULT,
            header_list_bytes_max: HEADER_LIST_BYTES_DEFAULT,
            stream_window_bytes: WINDOW_BYTES_DEFAULT,
            connection_window_bytes: CONNECTION_WINDOW_BYTES_DEFAULT,
            resets_max: RESETS_MAX_DEFAULT,
            idle_frames_max: IDLE_FRAMES_MAX_DEFAULT,
        },
    })
}
