//! What is to be explained: the listener, its demands, the chain and the time.
//!
//! It reads what the arguments name, within bounds, and judges nothing.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ExplainArgs;
use crate::config::error::nearest;
use crate::config::resolve::certificates;
use crate::config::snapshot::{Listener, Snapshot};
use crate::limits::{
    CERTIFICATE_MESSAGE_BYTES_MAX, DNS_NAME_BYTES_MAX, EXPLAIN_PEM_BYTES_MAX, NAMES_SHOWN_MAX,
};
use crate::trust::scope::Scope;

/// What the command line calls standard input.
const STDIN: &str = "-";

/// A time to judge at, in whole seconds since 1970; up to the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(now.as_secs())
    }

    /// Seconds since 1970.
    pub fn unix_s(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// As certificates are verified by it.
    pub fn unix_time(self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0))
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let time = match is_number {
            true => {
                let unix_s = text.parse().ok();
                unix_s.and_then(|unix_s| OffsetDateTime::from_unix_timestamp(unix_s).ok())
            }
            false => OffsetDateTime::parse(text, &Rfc3339).ok(),
        };
        let unix_s = time.and_then(|time| u64::try_from(time.unix_timestamp()).ok());
        unix_s.map(Self).ok_or(
            "expected a time from 1970 to 9999, as RFC 3339 (2026-01-31T12:00:00Z) or in seconds",
        )
    }
}

/// What is to be explained.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) listener: Arc<Listener>,
    pub(super) scope: Arc<Scope>,
    pub(super) server_name: Option<String>,
    pub(super) at: Moment,
    /// What the client presents, its own certificate first; empty: none.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Input {
    /// # Errors
    ///
    /// What is wrong with which argument, in a sentence.
    pub(super) fn read(
        args: &ExplainArgs,
        snapshot: &Snapshot,
        stdin: &mut impl Read,
    ) -> Result<Self, String> {
        let listener = Arc::clone(listener(args.listener.as_deref(), snapshot)?);
        let server_name = args.server_name.clone();
        if let Some(name) = &server_name {
            check_server_name(name)?;
        }
        let scope = Arc::clone(listener.scopes.select(server_name.as_deref()));
        let chain = match &args.client {
            Some(path) => read_chain(path, stdin)?,
            None => Vec::new(),
        };
        let at = args.at.unwrap_or_else(Moment::now);
        Ok(Self { listener, scope, server_name, at, chain })
    }
}

/// The listener of this name, or the only one.
fn listener<'a>(name: Option<&str>, snapshot: &'a Snapshot) -> Result<&'a Arc<Listener>, String> {
    let all = &snapshot.listeners;
    let names = || {
        let mut names: Vec<&str> = all.iter().map(|it| &*it.name).collect();
        let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
        names.truncate(NAMES_SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    };
    let Some(name) = name else {
        return match all.as_slice() {
            [only] => Ok(only),
            _ => Err(format!("--listener: there are {}; name one of {}", all.len(), names())),
        };
    };
    all.iter().find(|it| *it.name == *name).ok_or_else(|| {
        let meant = nearest(name, all.iter().map(|it| &*it.name));
        let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
        format!("--listener: there is none with the name {name:?} among {}{meant}", names())
    })
}

/// What no ClientHello may have as a server name cannot be asked for.
fn check_server_name(name: &str) -> Result<(), String> {
    let is_name = rustls::pki_types::DnsName::try_from(name).is_ok();
    if is_name && !name.ends_with('.') && name.len() <= DNS_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(format!("--server-name: {name:?} is no DNS name; such as gateway.example.org"))
}

fn read_chain(path: &Path, stdin: &mut impl Read) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = match path.to_str() {
        Some(STDIN) => "standard input".to_owned(),
        _ => path.display().to_string(),
    };
    let read = match path.to_str() {
        Some(STDIN) => read_bounded(stdin),
        _ => File::open(path).and_then(|mut file| read_bounded(&mut file)),
    };
    let bytes = read.map_err(|error| format!("{shown}: it cannot be read: {error}"))?;
    if bytes.len() > EXPLAIN_PEM_BYTES_MAX {
        return Err(format!("{shown}: it has more than {EXPLAIN_PEM_BYTES_MAX} bytes"));
    }
    let chain = certificates(&shown, &bytes).map_err(|error| error.to_string())?;
    let der: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if der > CERTIFICATE_MESSAGE_BYTES_MAX {
        return Err(format!(
            "{shown}: its certificates have {der} bytes; a handshake of more than \
             {CERTIFICATE_MESSAGE_BYTES_MAX} is given up before any is looked at"
        ));
    }
    Ok(chain)
}

/// One byte more than is allowed tells "too large" from "just fits".
fn read_bounded(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(EXPLAIN_PEM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
