//! What an alert means to whoever probes a server (RFC 8446, 6.2; RFC 5246, 7.2.2).

/// What a server most likely means by this alert, in a clause.
pub(super) fn meaning(alert: u8) -> &'static str {
    match alert {
        0 => "the server ends the connection",
        10 => "the server did not expect the message that it got",
        20 | 51 => "a signature, a MAC or a record of the client did not verify",
        22 => "a record of the client was too long for the server",
        40 => {
            "no agreement: no version, suite, group or signature scheme in common, or, in TLS 1.2, \
             no client certificate that the server wants"
        }
        41 => "the client presented no certificate",
        42 => "the client's certificate is corrupt, or a signature on it is wrong",
        43 => "the client's certificate is of a type, or for a purpose, that the server rejects",
        44 => "the client's certificate is revoked",
        45 => "the client's certificate has expired, or is not valid yet",
        46 => "the server rejects the client's certificate and does not say why",
        47 => "a field of the client's message is out of range or inconsistent",
        48 => "the server does not trust the issuer of the client's certificate",
        49 => "the client's certificate is good, but its owner is not allowed here",
        50 => "the server could not decode a message of the client",
        70 => "the server speaks none of the versions that were offered",
        71 => "the server demands more security than was offered",
        80 => "something is wrong inside the server, not with the client",
        86 => "the client offered less than it could, which the server takes for an attack",
        90 => "the server gave up the handshake",
        100 => "the server does not renegotiate",
        109 => "the server misses an extension that it needs, often the name (SNI)",
        110 => "the client sent an extension that the server forbids",
        112 => "the server serves no such name (SNI)",
        113 => "the server got no good OCSP response",
        115 => "the server does not know the session that was offered",
        116 => "the server requires a client certificate, and none was presented",
        120 => "the server speaks none of the application protocols that were offered",
        _ => "an alert without a meaning in the standard",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::names::alert_name;

    #[test]
    fn every_alert_with_a_name_has_a_meaning() {
        let unknown = meaning(255);
        // Of SSL 3.0 and TLS 1.0 only: 21 and 30 say nothing since.
        for alert in (0..=255).filter(|alert| ![21, 30].contains(alert)) {
            let is_named = alert_name(alert).is_some();
            assert_eq!(is_named, meaning(alert) != unknown, "{alert}");
        }
    }
}
