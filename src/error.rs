//! What can go wrong, as the causes that a log line and a metric label name.
//!
//! A leaf: it knows no other room. Each cause has one stable snake_case code, which is never
//! renamed, because alerts and dashboards are built on it.

use std::fmt;

/// Why a client's certificate, or the lack of one, ended a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The listener requires a certificate and the client presented none.
    CertificateMissing,
    /// A presented certificate is not correctly encoded X.509 (RFC 5280).
    Malformed,
    /// A presented certificate is not of version 3 (RFC 5280, 4.1.2.1).
    UnsupportedVersion,
    /// A certificate of the chain is past its notAfter, or its notAfter precedes its notBefore.
    Expired,
    /// A certificate of the chain is before its notBefore.
    NotYetValid,
    /// No path leads from the client's certificate to one of the configured anchors.
    UnknownAnchor,
    /// The client's certificate was issued by itself and is not one of the anchors.
    SelfSigned,
    /// The signature of a certificate of the chain does not fit the key of its issuer: most often
    /// an anchor of the same name with another key.
    BadSignature,
    /// The chain is in order, but the client did not prove that it holds the certificate's private
    /// key: its CertificateVerify signature is wrong (RFC 8446, 4.4.3).
    KeyNotProven,
    /// A certificate or the CertificateVerify is signed with an algorithm that is not accepted,
    /// or that does not fit the key.
    SignatureAlgorithmRefused,
    /// The chain is limited to other purposes than client authentication (RFC 5280, 4.2.1.12).
    EkuLacksClientAuth,
    /// The client's own certificate is that of a certification authority.
    CaAsLeaf,
    /// A certificate that is not an authority's issued another one of the chain.
    LeafAsCa,
    /// The client presented more certificates than the listener accepts.
    ChainTooLong,
    /// A presented certificate has a key of a type that the listener does not accept.
    KeyTypeRefused,
    /// A presented certificate has an RSA key of fewer bits than the listener accepts.
    KeyTooSmall,
    /// A certificate of the chain was revoked by its issuer.
    Revoked,
    /// Revocation is checked, and no list of its issuer speaks of a certificate.
    CrlMissing,
    /// Revocation is checked, and the list of its issuer is too old to say that a certificate was
    /// not revoked.
    CrlStale,
    /// A SPIFFE trust domain is bound to roots of its own: the client's is not that of its anchor.
    TrustDomainMismatch,
    /// A key of the chain is on the built-in list of keys that must never be trusted.
    Distrusted,
    /// A certificate has a critical extension that is not understood (RFC 5280, 4.2).
    UnknownCriticalExtension,
    /// A name is outside what an issuer of the chain may vouch for (RFC 5280, 4.2.1.10).
    NameConstraint,
    /// More authorities follow an issuer of the chain than it permits (RFC 5280, 4.2.1.9).
    PathLength,
    /// So many paths are possible through the presented certificates that the search was given up.
    PathTooComplex,
    /// A cause that the verifier does not tell apart. The log line has its text.
    Other,
}

impl Refusal {
    /// Every refusal, for a metric that shows each label from the start.
    pub const ALL: [Self; 26] = [
        Self::CertificateMissing,
        Self::Malformed,
        Self::UnsupportedVersion,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownAnchor,
        Self::SelfSigned,
        Self::BadSignature,
        Self::KeyNotProven,
        Self::SignatureAlgorithmRefused,
        Self::EkuLacksClientAuth,
        Self::CaAsLeaf,
        Self::LeafAsCa,
        Self::ChainTooLong,
        Self::KeyTypeRefused,
        Self::KeyTooSmall,
        Self::Revoked,
        Self::CrlMissing,
        Self::CrlStale,
        Self::TrustDomainMismatch,
        Self::Distrusted,
        Self::UnknownCriticalExtension,
        Self::NameConstraint,
        Self::PathLength,
        Self::PathTooComplex,
        Self::Other,
    ];

    /// The stable code of this refusal: the log field and the metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateMissing => "certificate_missing",
            Self::Malformed => "malformed",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownAnchor => "unknown_anchor",
            Self::SelfSigned => "self_signed",
            Self::BadSignature => "bad_signature",
            Self::KeyNotProven => "key_not_proven",
            Self::SignatureAlgorithmRefused => "signature_algorithm_refused",
            Self::EkuLacksClientAuth => "eku_lacks_client_auth",
            Self::CaAsLeaf => "ca_as_leaf",
            Self::LeafAsCa => "leaf_as_ca",
            Self::ChainTooLong => "chain_too_long",
            Self::KeyTypeRefused => "key_type_refused",
            Self::KeyTooSmall => "key_too_small",
            Self::Revoked => "revoked",
            Self::CrlMissing => "crl_missing",
            Self::CrlStale => "crl_stale",
            Self::TrustDomainMismatch => "trust_domain_mismatch",
            Self::Distrusted => "distrusted",
            Self::UnknownCriticalExtension => "unknown_critical_extension",
            Self::NameConstraint => "name_constraint",
            Self::PathLength => "path_length",
            Self::PathTooComplex => "path_too_complex",
            Self::Other => "other",
        }
    }
}

impl Refusal {
    /// The description of the alert that the client is sent (RFC 8446, 6), which is less exact than
    /// the refusal: most have none of their own. A missing certificate is answered by
    /// certificate_required under TLS 1.2 too, which has no alert of that name.
    pub const fn alert(self) -> u8 {
        match self {
            Self::CertificateMissing => 116,
            Self::Malformed => 42,
            Self::Expired | Self::NotYetValid => 45,
            Self::UnknownAnchor => 48,
            Self::KeyNotProven | Self::SignatureAlgorithmRefused => 51,
            Self::EkuLacksClientAuth => 43,
            Self::Revoked => 44,
            Self::UnsupportedVersion
            | Self::SelfSigned
            | Self::BadSignature
            | Self::CaAsLeaf
            | Self::LeafAsCa
            | Self::ChainTooLong
            | Self::KeyTypeRefused
            | Self::KeyTooSmall
            | Self::CrlMissing
            | Self::CrlStale
            | Self::TrustDomainMismatch
            | Self::Distrusted
            | Self::UnknownCriticalExtension
            | Self::NameConstraint
            | Self::PathLength
            | Self::PathTooComplex
            | Self::Other => 46,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_position_and_its_own_snake_case_code() {
        for (position, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, position, "{refusal:?} is out of place in ALL");
            let code = refusal.as_str();
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            let same = Refusal::ALL.iter().filter(|other| other.as_str() == code).count();
            assert_eq!(same, 1, "{code} names {same} refusals");
        }
        assert_eq!(Refusal::Other as usize + 1, Refusal::ALL.len());
    }
}

/// Whose doing the end of a connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The client.
    Downstream,
    /// The upstream.
    Upstream,
    /// ringfort itself, or its operator.
    Internal,
}

impl Source {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseKind {
    /// Both sides ended in order.
    Finished,
    /// The client's bytes are plain HTTP.
    PlainHttp,
    /// The client's bytes are not TLS.
    NotTls,
    /// The ClientHello is beyond its bound.
    HelloTooLarge,
    /// The ClientHello breaks the rules of its format.
    HelloMalformed,
    /// The connection ended before the handshake was complete.
    HandshakeAborted,
    /// The handshake was not complete in time.
    HandshakeTimeout,
    /// Too many handshakes were in progress, on the worker or of the source address.
    HandshakeOverload,
    /// TLS could not be agreed on, or its rules were broken.
    TlsFailed,
    /// The peer ended the connection by this alert.
    AlertReceived,
    /// The client certificate was refused.
    CertificateRefused(Refusal),
    /// The client is who it says, and no rule allows it in.
    Denied,
    /// A certificate of the client's chain was revoked after it was let in.
    Revoked,
    /// A certificate of the client's chain expired after it was let in.
    CertificateExpired,
    /// The list of revocation that a client was let in by is too old by now.
    RevocationUnknown,
    /// The client was let in, and rules, anchors or mode of the listener have changed: it would not
    /// be now.
    NoLongerAllowed,
    /// The connection was reset.
    Reset,
    /// FIN without close_notify: what was received may be cut short (RFC 8446, 6.1).
    Truncated,
    /// The connection could not be sent to or received from (this errno).
    Io(i32),
    /// Nothing was sent in either direction for too long.
    IdleTimeout,
    /// The connection reached its maximum age.
    AgeMax,
    /// The client sent too many frames of HTTP/2 that cost more than they are worth.
    Http2Flood,
    /// The rules of HTTP/2 were broken (RFC 9113, 5.4.1).
    Http2Error,
    /// The peer did not answer when it was asked whether it is there (RFC 9113, 6.7).
    PingTimeout,
    /// No endpoint of the upstream has an address.
    NoEndpoint,
    /// The upstream refused the connection.
    ConnectRefused,
    /// The upstream did not answer in time.
    ConnectTimeout,
    /// The connection to the upstream failed otherwise (this errno).
    ConnectFailed(i32),
    /// As many connections to upstreams are open as there may be, and none of them waits.
    UpstreamConnections,
    /// What came is no request of HTTP that has one meaning.
    BadRequest,
    /// A request did not come to its end in time.
    RequestTimeout,
    /// What the upstream answered is no response of HTTP that has one meaning.
    BadResponse,
    /// A response did not begin, or did not come to its end, in time.
    ResponseTimeout,
    /// The client did not take its response.
    ResponseNotTaken,
    /// The upstream did not take the body of a request.
    UpstreamStalled,
    /// The gateway drains, and no request was in progress.
    Drained,
    /// The certificate of the upstream was refused.
    UpstreamCertificateRefused,
    /// TLS with the upstream could not be agreed on, or it ended the handshake.
    UpstreamTlsFailed,
    /// The source address has as many connections as it may have.
    SourceLimit,
    /// The drain's deadline came.
    DrainDeadline,
    /// ringfort was told to stop at once.
    Stopped,
}

impl CloseKind {
    /// The ends of a connection whose client was let in, and would not be any more.
    pub const LAPSED: [Self; 4] =
        [Self::Revoked, Self::CertificateExpired, Self::NoLongerAllowed, Self::RevocationUnknown];

    /// The description of the alert (RFC 8446, 6) that the client is sent because of its
    /// certificate; `None` where its certificate is not why the connection ended.
    pub const fn alert(self) -> Option<u8> {
        match self {
            Self::CertificateRefused(refusal) => Some(refusal.alert()),
            Self::Denied | Self::NoLongerAllowed => Some(49),
            Self::Revoked => Some(44),
            Self::CertificateExpired => Some(45),
            Self::RevocationUnknown => Some(46),
            _ => None,
        }
    }

    /// The errno that says more, where there is one.
    pub const fn errno(self) -> Option<i32> {
        match self {
            Self::Io(errno) | Self::ConnectFailed(errno) => Some(errno),
            _ => None,
        }
    }

    /// The stable name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::HelloTooLarge => "hello_too_large",
            Self::HelloMalformed => "hello_malformed",
            Self::HandshakeAborted => "handshake_aborted",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeOverload => "handshake_overload",
            Self::TlsFailed => "tls_failed",
            Self::AlertReceived => "alert_received",
            Self::CertificateRefused(_) => "certificate_refused",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
            Self::CertificateExpired => "certificate_expired",
            Self::RevocationUnknown => "revocation_unknown",
            Self::NoLongerAllowed => "no_longer_allowed",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Io(_) => "io_error",
            Self::IdleTimeout => "idle_timeout",
            Self::AgeMax => "age_max",
            Self::Http2Flood => "http2_flood",
            Self::Http2Error => "http2_error",
            Self::PingTimeout => "ping_timeout",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed(_) => "connect_failed",
            Self::UpstreamConnections => "upstream_connections",
            Self::BadRequest => "bad_request",
            Self::RequestTimeout => "request_timeout",
            Self::BadResponse => "bad_response",
            Self::ResponseTimeout => "response_timeout",
            Self::ResponseNotTaken => "response_not_taken",
            Self::UpstreamStalled => "upstream_stalled",
            Self::Drained => "drained",
            Self::UpstreamCertificateRefused => "upstream_certificate_refused",
            Self::UpstreamTlsFailed => "upstream_tls_failed",
            Self::SourceLimit => "source_limit",
            Self::DrainDeadline => "drain_deadline",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a connection ended, and by whom: the log's field and the metrics' label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseReason {
    /// Whose doing it was.
    pub source: Source,
    /// What happened.
    pub kind: CloseKind,
}

impl CloseReason {
    /// The client's doing.
    pub const fn downstream(kind: CloseKind) -> Self {
        Self { source: Source::Downstream, kind }
    }

    /// The upstream's doing.
    pub const fn upstream(kind: CloseKind) -> Self {
        Self { source: Source::Upstream, kind }
    }

    /// ringfort's own doing.
    pub const fn internal(kind: CloseKind) -> Self {
        Self { source: Source::Internal, kind }
    }
}
