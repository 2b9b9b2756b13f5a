//! The forms that DNS names, mail addresses and URIs may have in a certificate and in a pattern.
//!
//! Strict on purpose: each name has one spelling, so comparing bytes compares names.

use std::fmt;

use crate::limits::{DNS_LABEL_BYTES_MAX, DNS_NAME_BYTES_MAX};

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameProblem {
    /// It has a NUL byte, which other software takes for the end of the name.
    Nul,
    /// It has a byte outside printable ASCII.
    NotAscii,
    /// A DNS name that is not labels of 1 to 63 letters, digits, '-' and '_' with dots between.
    NotDns,
    /// A mail address that is not a local part, one '@' and a DNS name (RFC 5280, 4.2.1.6).
    NotEmail,
    /// A URI without a scheme, or with a character that RFC 3986 forbids.
    NotUri,
    /// An IP address of neither 4 nor 16 bytes (RFC 5280, 4.2.1.6).
    NotIp,
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nul => "it has a NUL byte",
            Self::NotAscii => "it has a byte outside printable ASCII",
            Self::NotDns => {
                "it is not a DNS name: labels of 1 to 63 letters, digits, '-' and '_' with dots \
                 between them, 253 bytes at most"
            }
            Self::NotEmail => "it is not a mail address of the form local@host.name",
            Self::NotUri => "it is not a URI: a scheme, a colon and characters of RFC 3986",
            Self::NotIp => "an IP address has 4 or 16 bytes",
        })
    }
}

/// Checks that `text` has printable ASCII without spaces only.
fn check_printable(text: &str) -> Result<(), NameProblem> {
    if text.bytes().any(|b| b == 0) {
        return Err(NameProblem::Nul);
    }
    if text.bytes().all(|b| b.is_ascii_graphic()) { Ok(()) } else { Err(NameProblem::NotAscii) }
}

/// Checks a DNS name and returns it in lower case. `wildcard` allows `*.` as its first label.
pub(crate) fn dns(text: &str, wildcard: bool) -> Result<Box<str>, NameProblem> {
    check_printable(text)?;
    let labels = match text.strip_prefix("*.") {
        Some(rest) if wildcard => rest,
        _ => text,
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label_fits = |label: &str| {
        (1..=DNS_LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(allowed)
    };
    if text.len() > DNS_NAME_BYTES_MAX || !labels.split('.').all(label_fits) {
        return Err(NameProblem::NotDns);
    }
    Ok(text.to_ascii_lowercase().into_boxed_str())
}

/// Splits a mail address into its local part, whose case counts, and its host in lower case.
pub(crate) fn email(text: &str) -> Result<(&str, Box<str>), NameProblem> {
    check_printable(text)?;
    let (local, host) = text.split_once('@').ok_or(NameProblem::NotEmail)?;
    if local.is_empty() {
        return Err(NameProblem::NotEmail);
    }
    let host = dns(host, false).map_err(|_| NameProblem::NotEmail)?;
    Ok((local, host))
}

/// Checks the characters of a URI and that it has a scheme (RFC 3986, 2 and 3.1).
pub(super) fn check_uri(text: &str) -> Result<(), NameProblem> {
    check_printable(text)?;
    let (scheme, _) = text.split_once(':').ok_or(NameProblem::NotUri)?;
    let in_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let starts_well = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let forbidden =
        |b: u8| matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
    if starts_well && scheme.bytes().all(in_scheme) && !text.bytes().any(forbidden) {
        Ok(())
    } else {
        Err(NameProblem::NotUri)
    }
}

/// Whether the scheme of `uri` is `spiffe` in any case.
pub(super) fn is_spiffe(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("spiffe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_name_has_one_spelling() {
        assert_eq!(dns("Host-1.Example", false).as_deref(), Ok("host-1.example"));
        assert_eq!(dns("*.example", true).as_deref(), Ok("*.example"));
        for bad in ["", ".", "a.", ".a", "a..b", "a/b", "a b", "*.a", "a.*.b", "*", "a:1"] {
            assert!(dns(bad, false).is_err(), "{bad:?}");
        }
        for bad in ["*", "*.", "**.a", "a*.b", "a.*.b", "*.*.a"] {
            assert_eq!(dns(bad, true), Err(NameProblem::NotDns), "{bad:?}");
        }
        assert_eq!(dns("good.example\0.evil", false), Err(NameProblem::Nul));
        assert_eq!(dns(&"a".repeat(64), false), Err(NameProblem::NotDns));
        assert_eq!(dns(&["a"; 128].join("."), false), Err(NameProblem::NotDns));
    }

    #[test]
    fn a_mail_address_has_one_at_sign_and_a_host() {
        assert_eq!(email("Ops@Example.ORG"), Ok(("Ops", "example.org".into())));
        for bad in ["ops", "@a.b", "a@", "a@b@c", "a@b c", "a@[127.0.0.1]", "a@*.b"] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_uri_has_a_scheme_and_no_forbidden_character() {
        assert_eq!(check_uri("urn:example:a%20b"), Ok(()));
        for bad in ["", ":a", "1a:b", "a b:c", "no-scheme", "a:<b>", "a:b\"", "a:\u{e9}"] {
            assert!(check_uri(bad).is_err(), "{bad:?}");
        }
        assert!(is_spiffe("SpIfFe://a/b") && !is_spiffe("https://spiffe://"));
    }
}
