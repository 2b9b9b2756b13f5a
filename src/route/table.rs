//! The table of routes: the first that matches is chosen.
//!
//! PURE. It must not know why a route exists or what is done with it. Invariant: what is chosen is
//! what a walk along all routes in the order of the configuration would choose.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::conditions::Conditions;
use super::rate::RateLimiter;
use crate::http1::fields::{Field, is_same_name};
use crate::identity::Identity;
use crate::policy::Rules;

/// The routes of a listener, in the order of the configuration.
#[derive(Clone)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    conditions: Vec<Conditions>,
    /// Which routes may be asked for a host, each list ascending: a table of a thousand hosts is
    /// no walk along a thousand routes.
    by_host: HashMap<Box<[u8]>, Vec<usize>>,
    /// The same by what follows the first label, for `*.example.org`.
    by_parent: HashMap<Box<[u8]>, Vec<usize>>,
    /// Those that ask for no host.
    of_any_host: Vec<usize>,
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
#[derive(Clone, Debug)]
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
    /// How many requests one identity may make; who has no certificate counts by its source.
    pub rate_per_identity: Option<Arc<RateLimiter>>,
    /// How many requests one source address may make.
    pub rate_per_source: Option<Arc<RateLimiter>>,
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the first byte of the response; `None` = unbounded.
    pub first_byte: Option<Duration>,
    /// Without progress of a request's body whose length is known.
    pub body: Duration,
    /// Of silence once a response has begun, or while a body of unknown length is being sent;
    /// `None` = unbounded.
    pub stream: Option<Duration>,
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

impl FieldChanges {
    /// Whether a field of this name is left out, of the head or of the trailer section: in whatever
    /// case, and in whatever spelling that an upstream may take for it
    /// ([`is_same_name`]).
    pub fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| is_same_name(removed, name))
    }
}

impl Table {
    /// A table of these routes; the first whose conditions hold is chosen.
    pub fn new(routes: Vec<(Conditions, Arc<Route>)>) -> Self {
        let (conditions, routes): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let mut table = Self {
            routes,
            conditions: Vec::new(),
            by_host: HashMap::new(),
            by_parent: HashMap::new(),
            of_any_host: Vec::new(),
        };
        for (index, conditions) in conditions.iter().enumerate() {
            if conditions.hosts.is_empty() {
                table.of_any_host.push(index);
            }
            for host in &conditions.hosts {
                let (map, name) = match host.strip_prefix("*.") {
                    Some(parent) => (&mut table.by_parent, parent),
                    None => (&mut table.by_host, &**host),
                };
                let indices = map.entry(name.as_bytes().into()).or_default();
                if indices.last() != Some(&index) {
                    indices.push(index);
                }
            }
        }
        table.conditions = conditions;
        table
    }

    /// A table of one route that takes every request.
    pub fn one(route: Route) -> Self {
        Self::new(vec![(Conditions::default(), Arc::new(route))])
    }

    /// Goes on with the rates of the routes of the same name of `earlier`, where they are the same:
    /// a new configuration is no new burst for everybody.
    pub fn carry_rates(&mut self, earlier: &Self) {
        let by_name: HashMap<&str, &Route> =
            earlier.routes.iter().map(|route| (&*route.name, &**route)).collect();
        for route in &mut self.routes {
            let Some(before) = by_name.get(&*route.name) else {
                continue;
            };
            let route = Arc::make_mut(route);
            carry(&mut route.rate_per_identity, before.rate_per_identity.as_deref());
            carry(&mut route.rate_per_source, before.rate_per_source.as_deref());
        }
    }

    /// The routes, in their order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What the routes ask for, in their order.
    pub fn conditions(&self) -> &[Conditions] {
        &self.conditions
    }

    /// The place of a request's route: the first whose conditions hold. `None`: the answer is 404.
    pub fn select(&self, asked: &Asked<'_>) -> Option<usize> {
        let dot = asked.host.iter().position(|byte| *byte == b'.').filter(|at| *at > 0);
        let exact = list(&self.by_host, Some(asked.host));
        let wildcard = list(&self.by_parent, dot.map(|at| &asked.host[at + 1..]));
        let any = self.of_any_host.as_slice();
        merged(exact, wildcard, any).find(|it| self.conditions[*it].hold(asked))
    }

    /// The route at a place that [`Table::select`] returned.
    pub fn route(&self, index: usize) -> &Arc<Route> {
        &self.routes[index]
    }
}

/// The index follows from the conditions, and has no order of its own.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.conditions.iter().zip(&self.routes)).finish()
    }
}

fn carry(limiter: &mut Option<Arc<RateLimiter>>, earlier: Option<&RateLimiter>) {
    let carried = limiter.as_ref().zip(earlier).and_then(|(new, earlier)| new.carry(earlier));
    if let Some(carried) = carried {
        *limiter = Some(Arc::new(carried));
    }
}

fn list<'a>(map: &'a HashMap<Box<[u8]>, Vec<usize>>, name: Option<&[u8]>) -> &'a [usize] {
    name.and_then(|name| map.get(name)).map_or(&[], Vec::as_slice)
}

/// Three ascending lists as one.
fn merged<'a>(
    mut one: &'a [usize],
    mut two: &'a [usize],
    mut three: &'a [usize],
) -> impl Iterator<Item = usize> + 'a {
    std::iter::from_fn(move || {
        let first = |list: &[usize]| list.first().copied().unwrap_or(usize::MAX);
        let least = first(one).min(first(two)).min(first(three));
        for list in [&mut one, &mut two, &mut three] {
            if first(list) == least {
                // A route may stand in two of them: by its own name and by a wildcard.
                *list = list.get(1..).unwrap_or_default();
            }
        }
        (least != usize::MAX).then_some(least)
    })
}

#[cfg(test)]
mod tests;
