//! What a route asks of a request.
//!
//! PURE. It must not know the other routes. Hosts are not looked at here but by the table, which
//! has an index of them.

use std::fmt;

use super::table::Asked;
use crate::http1::fields::is_same_name;
use crate::identity::Pattern;

/// The conditions of one route: all that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Hosts, of which one must be asked for; in lower case. `*.example.org` stands for exactly
    /// one label in front. Empty = any, and none.
    pub hosts: Box<[Box<str>]>,
    /// Where in the tree of paths.
    pub path: PathCondition,
    /// Methods, of which one must be used; case counts (RFC 9110, 9.1). Empty = any.
    pub methods: Box<[Box<str>]>,
    /// Fields, all of which must be there.
    pub fields: Box<[FieldCondition]>,
    /// Patterns, of which one must match the client. Empty = any client, and none.
    pub identity: Box<[Pattern]>,
}

/// Where in the tree of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathCondition {
    /// Anywhere, and `*` too.
    #[default]
    Any,
    /// This path; a normal one.
    Exact(Box<str>),
    /// This path and what is below it, by whole segments; with a slash at its end, only what is
    /// below it. A normal path.
    Prefix(Box<str>),
}

/// A field that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldCondition {
    /// Its name, in lower case; another spelling that upstreams may take for it counts too.
    pub name: Box<str>,
    /// What one of its lines must have as its value, byte by byte; `None` = whatever.
    pub value: Option<Box<str>>,
}

impl PathCondition {
    /// Whether a normal path is there.
    pub fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| prefix.ends_with('/') || matches!(rest, [] | [b'/', ..])),
        }
    }

    /// Whether every path that `other` has is here too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (Self::Exact(_), Self::Prefix(_)) => false,
            (_, Self::Exact(path) | Self::Prefix(path)) => self.holds(path.as_bytes()),
        }
    }
}

impl Conditions {
    /// Whether they hold, the host aside.
    pub fn hold(&self, asked: &Asked<'_>) -> bool {
        let of_one = |list: &[Box<str>], text: &[u8]| {
            list.is_empty() || list.iter().any(|it| it.as_bytes() == text)
        };
        self.path.holds(asked.path)
            && of_one(&self.methods, asked.method)
            && self.fields.iter().all(|field| field.holds(asked))
            && (self.identity.is_empty()
                || asked.identity.is_some_and(|it| self.identity.iter().any(|p| p.matches(it))))
    }

    /// Whether it is certain that they hold wherever those of `other` do: a later route with
    /// `other` is never chosen.
    pub fn cover(&self, other: &Self) -> bool {
        let lists = |mine: &[Box<str>], theirs: &[Box<str>], covers: fn(&str, &str) -> bool| {
            let is_covered = |it: &str| mine.iter().any(|my| covers(my, it));
            mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(|it| is_covered(it)))
        };
        lists(&self.hosts, &other.hosts, host_covers)
            && self.path.covers(&other.path)
            && lists(&self.methods, &other.methods, |my, it| my == it)
            && self.fields.iter().all(|my| other.fields.iter().any(|it| my.covers(it)))
            && (self.identity.is_empty()
                || (!other.identity.is_empty()
                    && other.identity.iter().all(|it| self.identity.contains(it))))
    }
}

/// Whether whoever asks for `other` asks for `host`.
fn host_covers(host: &str, other: &str) -> bool {
    let parent = |it: &str| it.split_once('.').map(|(_, parent)| parent.to_owned());
    host == other || host.strip_prefix("*.").is_some_and(|it| Some(it.to_owned()) == parent(other))
}

impl FieldCondition {
    fn holds(&self, asked: &Asked<'_>) -> bool {
        // As upstreams may read it: who denies by a field does not deny one spelling of it.
        asked.fields.iter().any(|field| {
            is_same_name(field.name.of(asked.bytes), self.name.as_bytes())
                && self.value.as_ref().is_none_or(|it| field.value.of(asked.bytes) == it.as_bytes())
        })
    }

    fn covers(&self, other: &Self) -> bool {
        is_same_name(self.name.as_bytes(), other.name.as_bytes())
            && (self.value.is_none() || self.value == other.value)
    }
}

/// In words, for who reads what was configured: `host a.test, path /a/*, method GET`.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Vec::new();
        if !self.hosts.is_empty() {
            all.push(format!("host {}", self.hosts.join(" or ")));
        }
        match &self.path {
            PathCondition::Any => {}
            PathCondition::Exact(path) => all.push(format!("path {path}")),
            PathCondition::Prefix(path) => {
                all.push(format!("path {path}{}", if path.ends_with('/') { "*" } else { "/*" }));
            }
        }
        if !self.methods.is_empty() {
            all.push(format!("method {}", self.methods.join(" or ")));
        }
        for FieldCondition { name, value } in &self.fields {
            all.push(match value {
                Some(value) => format!("header {name}: {value}"),
                None => format!("header {name}"),
            });
        }
        if !self.identity.is_empty() {
            let patterns: Vec<String> = self.identity.iter().map(Pattern::to_string).collect();
            all.push(format!("identity {}", patterns.join(" or ")));
        }
        if all.is_empty() { f.write_str("everything") } else { f.write_str(&all.join(", ")) }
    }
}
