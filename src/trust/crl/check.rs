//! The answer for one path: whether one of its certificates was revoked, and until when that holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{IssuerId, Link, RevocationList, Scope};
use crate::error::Refusal;

/// Which certificates of a path are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlCheck {
    /// The client's own.
    Leaf,
    /// All, but for the anchor.
    #[default]
    Chain,
}

/// What becomes of a certificate whose issuer has no list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is refused.
    #[default]
    Reject,
    /// It passes.
    Accept,
}

/// What becomes of a certificate that is not in the list of its issuer, where that is past its
/// nextUpdate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// It is refused.
    #[default]
    Reject,
    /// It passes for this long after nextUpdate.
    Grace(Duration),
    /// It passes.
    Accept,
}

/// Why a path is refused. Position 0 is the client's own certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The issuer revoked the certificate.
    Revoked {
        /// Which certificate of the path.
        position: usize,
        /// Since when, in seconds since 1970.
        when: i64,
    },
    /// No list that has begun speaks of the certificate.
    Missing {
        /// Which certificate of the path.
        position: usize,
    },
    /// The list is too old to say that the certificate was not revoked.
    Stale {
        /// Which certificate of the path.
        position: usize,
        /// The nextUpdate of the list, in seconds since 1970.
        since: i64,
    },
}

impl Revoked {
    /// What the log calls it.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Revoked { .. } => Refusal::Revoked,
            Self::Missing { .. } => Refusal::CrlMissing,
            Self::Stale { .. } => Refusal::CrlStale,
        }
    }
}

/// What the lists say of one certificate of a path.
#[derive(Clone, Copy, Debug)]
pub struct Consulted<'a> {
    /// Which certificate; 0 is the client's own.
    pub position: usize,
    /// The list of its issuer that rules, whatever its dates are; `None` where there is none.
    pub list: Option<&'a RevocationList>,
    /// Until when it may pass, in seconds since 1970, where time alone ends it; or why not.
    pub answer: Result<Option<i64>, Revoked>,
}

/// The lists of one issuer that rule: for each kind of certificate the newest that speaks of it.
#[derive(Clone, Debug, Default)]
struct Ruling {
    users: Option<Arc<RevocationList>>,
    authorities: Option<Arc<RevocationList>>,
}

/// The lists in force and how strictly they are taken.
///
/// Without [`Revocation::new`], which is the default, nothing is checked.
#[derive(Clone, Debug, Default)]
pub struct Revocation {
    is_on: bool,
    rulings: HashMap<IssuerId, Ruling>,
    check: CrlCheck,
    missing: Missing,
    stale: Stale,
}

impl Revocation {
    /// Of several lists of one issuer the newest rules, by thisUpdate and then by number.
    pub fn new(
        lists: impl IntoIterator<Item = Arc<RevocationList>>,
        check: CrlCheck,
        missing: Missing,
        stale: Stale,
    ) -> Self {
        let mut rulings: HashMap<IssuerId, Ruling> = HashMap::new();
        for list in lists {
            let ruling = rulings.entry(list.issuer()).or_default();
            if list.scope() != Scope::Authorities {
                replace_older(&mut ruling.users, &list);
            }
            if list.scope() != Scope::Users {
                replace_older(&mut ruling.authorities, &list);
            }
        }
        Self { is_on: true, rulings, check, missing, stale }
    }

    /// Whether the certificates of a path, the leaf first and without the anchor, may pass.
    ///
    /// Returns the second since 1970 at which the answer ends, for it follows from lists that are
    /// good until then; `None` where time alone does not end it.
    ///
    /// A list revokes whatever its dates are. That it does not revoke counts from its thisUpdate
    /// on, less `CRL_FUTURE_S_MAX` for clocks that differ; before, it is as if it were missing.
    ///
    /// # Errors
    ///
    /// The first certificate that may not pass, and why.
    pub fn check(&self, links: &[Link], now_unix_s: i64) -> Result<Option<i64>, Revoked> {
        let mut until = None;
        for consulted in self.consult(links, now_unix_s) {
            until = [until, consulted.answer?].into_iter().flatten().min();
        }
        Ok(until)
    }

    /// What the lists say of each certificate that is looked up, as [`Self::check`] concludes from
    /// it; nothing where nothing is checked.
    pub fn consult<'a>(
        &'a self,
        links: &'a [Link],
        now_unix_s: i64,
    ) -> impl Iterator<Item = Consulted<'a>> {
        let looked_up = match (self.is_on, self.check) {
            (false, _) => 0,
            (true, CrlCheck::Leaf) => 1,
            (true, CrlCheck::Chain) => links.len(),
        };
        let looked_up = links.iter().enumerate().take(looked_up);
        looked_up.map(move |(position, link)| {
            let list = self.list_for(position, link);
            let answer = self.check_link(position, link, list, now_unix_s);
            Consulted { position, list, answer }
        })
    }

    /// What there is to say about a path that is refused, for the log: whose list, and since when.
    pub fn say(&self, revoked: Revoked, links: &[Link], now_unix_s: i64) -> String {
        let (Revoked::Revoked { position, .. }
        | Revoked::Missing { position }
        | Revoked::Stale { position, .. }) = revoked;
        let whose = match position {
            0 => "the client's certificate".to_owned(),
            _ => format!("authority {position} of the path"),
        };
        let ruling = links.get(position).and_then(|link| self.rulings.get(&link.issuer));
        let list = ruling.and_then(|it| it.users.as_ref().or(it.authorities.as_ref()));
        let label = list.map_or("its issuer", |list| list.label());
        match revoked {
            Revoked::Revoked { when, .. } => {
                format!("{whose} was revoked by {label} {}", ago(now_unix_s.saturating_sub(when)))
            }
            Revoked::Missing { .. } => format!("there is no CRL of the issuer of {whose}"),
            Revoked::Stale { since, .. } => format!(
                "the CRL of {label}, which {whose} needs, expired {}",
                ago(now_unix_s.saturating_sub(since))
            ),
        }
    }

    fn list_for(&self, position: usize, link: &Link) -> Option<&RevocationList> {
        let ruling = self.rulings.get(&link.issuer)?;
        let list = match position {
            0 => ruling.users.as_ref(),
            _ => ruling.authorities.as_ref(),
        };
        list.map(|list| &**list)
    }

    fn check_link(
        &self,
        position: usize,
        link: &Link,
        list: Option<&RevocationList>,
        now: i64,
    ) -> Result<Option<i64>, Revoked> {
        let missing = |until| match self.missing {
            Missing::Reject => Err(Revoked::Missing { position }),
            Missing::Accept => Ok(until),
        };
        let Some(list) = list else {
            return missing(None);
        };
        if let Some(when) = list.revoked_at(&link.serial) {
            return Err(Revoked::Revoked { position, when });
        }
        if !list.has_begun(now) {
            return missing(Some(list.begins()));
        }
        match self.ends(list) {
            Some(ends) if now >= ends => {
                Err(Revoked::Stale { position, since: list.next_update() })
            }
            ends => Ok(ends),
        }
    }

    /// Whether anything is checked.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    fn ends(&self, list: &RevocationList) -> Option<i64> {
        let grace = match self.stale {
            Stale::Accept => return None,
            Stale::Reject => 0,
            Stale::Grace(grace) => i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        };
        Some(list.next_update().saturating_add(grace))
    }

    /// The lists that rule, each once, in no order.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.shared_lists().map(|list| &**list)
    }

    /// The same, to keep them for what follows this.
    pub fn shared_lists(&self) -> impl Iterator<Item = &Arc<RevocationList>> {
        self.rulings.values().flat_map(|Ruling { users, authorities }| {
            let is_same = match (users, authorities) {
                (Some(users), Some(authorities)) => Arc::ptr_eq(users, authorities),
                _ => false,
            };
            [users.as_ref(), authorities.as_ref().filter(|_| !is_same)].into_iter().flatten()
        })
    }
}

/// A time that has passed, in the largest unit of which there is one.
fn ago(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{} s ago", seconds.max(0)),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn replace_older(held: &mut Option<Arc<RevocationList>>, list: &Arc<RevocationList>) {
    if held.as_ref().is_none_or(|held| list.is_newer_than(held)) {
        *held = Some(Arc::clone(list));
    }
}
