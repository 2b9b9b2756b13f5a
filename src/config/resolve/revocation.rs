//! The keys of a listener about lists of revocation -> [`Revocation`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

use super::files::{NamedFile, holds_lists};
use super::{Complaint, Resolver, pem};
use crate::config::model::{ClientKeys, Text};
use crate::limits::{CRL_BYTES_MAX, TIMEOUT_MS_MAX};
use crate::trust::crl::{CrlCheck, Issuer, IssuerId, Missing, Revocation, RevocationList, Stale};

/// What `crl_check` may be.
const CHECKS: &[(&str, CrlCheck)] = &[("leaf", CrlCheck::Leaf), ("chain", CrlCheck::Chain)];

/// What `crl_missing` may be.
const MISSING: &[(&str, Missing)] = &[("reject", Missing::Reject), ("accept", Missing::Accept)];

impl Resolver<'_> {
    /// The lists of a listener, signed by one of `authorities`.
    pub(super) fn revocation(
        &mut self,
        keys: &ClientKeys,
        table: &Range<usize>,
        authorities: &[&CertificateDer<'static>],
        provider: &CryptoProvider,
    ) -> Option<Arc<Revocation>> {
        let check = self.choice(keys.crl_check.as_ref(), "crl_check", CHECKS, CrlCheck::Chain);
        let missing =
            self.choice(keys.crl_missing.as_ref(), "crl_missing", MISSING, Missing::Reject);
        let stale = keys.crl_stale.as_ref().map_or(Stale::Reject, |text| self.stale(text));
        let Some(written) = &keys.client_crl else {
            let orphan = [
                ("crl_check", &keys.crl_check),
                ("crl_missing", &keys.crl_missing),
                ("crl_stale", &keys.crl_stale),
            ];
            if let Some((key, _)) = orphan.iter().find(|(_, text)| text.is_some()) {
                self.refuse(
                    table,
                    &format!("{key} is set, and there is no `client_crl`"),
                    "it only where lists of revocation are checked",
                    &format!("add `client_crl`, or remove `{key}`"),
                );
            }
            return Some(Arc::default());
        };
        let issuers: Vec<Issuer> =
            authorities.iter().filter_map(|der| Issuer::from_der(der).ok()).collect();
        let mut lists = Vec::new();
        let signers: Vec<IssuerId> = issuers.iter().map(Issuer::id).collect();
        for file in &self.files("client_crl", written, None, holds_lists)? {
            let key = (file.path().to_path_buf(), signers.clone());
            if let Some(known) = self.lists.get(&key) {
                lists.extend(known.iter().map(Arc::clone));
                continue;
            }
            let bytes = self.read_file("client_crl", file, CRL_BYTES_MAX)?;
            let read = self.read_lists(file, &bytes, &issuers, provider)?;
            lists.extend(read.iter().map(Arc::clone));
            self.lists.insert(key, read);
        }
        Some(Arc::new(Revocation::new(lists, check, missing, stale)))
    }

    fn read_lists(
        &mut self,
        file: &NamedFile,
        bytes: &[u8],
        issuers: &[Issuer],
        provider: &CryptoProvider,
    ) -> Option<Vec<Arc<RevocationList>>> {
        let ders = pem::crls(bytes)
            .map_err(|complaint| self.complain_of("client_crl", file, complaint))
            .ok()?;
        let algorithms = provider.signature_verification_algorithms;
        let parsed: Result<Vec<_>, _> = ders
            .iter()
            .map(|der| RevocationList::parse(der, issuers, &algorithms).map(Arc::new))
            .collect();
        parsed
            .map_err(|error| {
                let complaint = Complaint::new(
                    format!("is refused: {error}"),
                    "a list of revocation (RFC 5280, section 5) that an authority of `client_ca` \
                     or `client_intermediates` signed",
                    "fetch it anew; add its issuer to `client_intermediates` where it is missing",
                );
                self.complain_of("client_crl", file, complaint);
            })
            .ok()
    }

    fn stale(&mut self, text: &Text) -> Stale {
        match text.get_ref().as_str() {
            "reject" => Stale::Reject,
            "accept" => Stale::Accept,
            other => match other.strip_prefix("grace ").and_then(duration) {
                Some(grace) => Stale::Grace(grace),
                None => {
                    self.refuse(
                        &text.span(),
                        &format!("crl_stale = {other:?}"),
                        "\"reject\", \"accept\" or \"grace \" with a time, such as \"grace 24h\"",
                        "write one of these",
                    );
                    Stale::Reject
                }
            },
        }
    }

    /// How long those who may not stay get: `"at_once"` or `"drain 30s"`.
    pub(super) fn lapse_drain(&mut self, written: Option<&Text>) -> Duration {
        let Some(text) = written else {
            return Duration::ZERO;
        };
        match text.get_ref().as_str() {
            "at_once" => Duration::ZERO,
            other => other.strip_prefix("drain ").and_then(duration).unwrap_or_else(|| {
                self.refuse(
                    &text.span(),
                    &format!("lapsed_connections = {other:?}"),
                    "\"at_once\" or \"drain \" with a time, such as \"drain 30s\"",
                    "write one of these",
                );
                Duration::ZERO
            }),
        }
    }
}

/// A time as `30s`, `15m`, `24h` or `7d`; more than nothing, and 30 days at the most.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.len().checked_sub(1).filter(|end| text.is_char_boundary(*end))?;
    let (digits, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|count| is_number && *count > 0)?;
    let duration = Duration::from_secs(count.checked_mul(seconds)?);
    Some(duration).filter(|it| *it <= Duration::from_millis(TIMEOUT_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        let seconds = |text| duration(text).map(|it| it.as_secs());
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("15m"), Some(900));
        assert_eq!(seconds("24h"), Some(86_400));
        assert_eq!(seconds("30d"), Some(2_592_000));
        for bad in
            ["", "s", "0s", "31d", "-1s", "+1s", "1.5h", "1 h", "1w", "99999999999999999999d", "é"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
