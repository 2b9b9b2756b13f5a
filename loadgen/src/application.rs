//! What is spoken inside of TLS, and what ALPN has to say of it.

use crate::plan::{BadArgument, bad};
use crate::tally::Failure;

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Nothing, or whatever bytes.
    Bytes,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Application {
    /// Its name in reports; `None` where nothing is spoken by itself.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Bytes => None,
            Self::Http1 => Some("HTTP/1.1"),
            Self::Http2 => Some("HTTP/2"),
        }
    }

    /// Whether it may be spoken after that was agreed on by ALPN (RFC 7301). HTTP/2 over TLS has
    /// to be (RFC 9113, 3.3: "HTTP/2 over TLS uses the "h2" protocol identifier").
    ///
    /// # Errors
    /// [`Failure::Tls`] where it may not.
    pub fn accepts(self, agreed: Option<&[u8]>) -> Result<(), Failure> {
        match (self, agreed) {
            (Self::Bytes, _) | (Self::Http1, None | Some(b"http/1.1")) => Ok(()),
            (Self::Http2, Some(b"h2")) => Ok(()),
            (Self::Http1, _) => Err(Failure::Tls("agreed on another protocol than HTTP/1.1")),
            (Self::Http2, _) => Err(Failure::Tls("did not agree on HTTP/2")),
        }
    }

    /// The protocols to offer: those that were asked for, or what it cannot do without.
    ///
    /// # Errors
    /// `--alpn` without it.
    pub fn offers(self, asked: &[String]) -> Result<Vec<String>, BadArgument> {
        let needed = match self {
            Self::Http1 if !asked.is_empty() => "http/1.1",
            Self::Http2 => "h2",
            Self::Bytes | Self::Http1 => return Ok(asked.to_vec()),
        };
        match asked {
            [] => Ok(vec![needed.to_owned()]),
            _ if asked.iter().any(|name| name == needed) => Ok(asked.to_vec()),
            _ => {
                let problem = format!("found {asked:?}, expected {needed} among them: see --proto");
                Err(bad("--alpn", problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_alpn_agreed_on_has_to_be_what_is_spoken() {
        use Application::{Bytes, Http1, Http2};
        for (application, agreed, is_good) in [
            (Bytes, Some(&b"x"[..]), true),
            (Http1, None, true),
            (Http1, Some(b"http/1.1"), true),
            (Http1, Some(b"h2"), false),
            (Http2, Some(b"h2"), true),
            (Http2, Some(b"http/1.1"), false),
            (Http2, None, false),
        ] {
            assert_eq!(application.accepts(agreed).is_ok(), is_good, "{application:?} {agreed:?}");
        }
    }

    #[test]
    fn what_is_offered_is_what_is_asked_for_or_needed() {
        use Application::{Bytes, Http1, Http2};
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (application, asked, offered) in [
            (Bytes, &["x"][..], Some(&["x"][..])),
            (Http1, &[], Some(&[])),
            (Http1, &["h2", "http/1.1"], Some(&["h2", "http/1.1"])),
            (Http1, &["h2"], None),
            (Http2, &[], Some(&["h2"])),
            (Http2, &["http/1.1"], None),
        ] {
            let found = application.offers(&names(asked)).ok();
            assert_eq!(found, offered.map(names), "{application:?} {asked:?}");
        }
    }
}
