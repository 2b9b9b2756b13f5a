//! What the body of a handshake message says, as far as a timeline shows it (RFC 8446, 4; RFC
//! 5246, 7.4; RFC 8422, 5).
//!
//! Pure: bytes in, a summary or `None` out. Every byte is the peer's: nothing here panics, and no
//! list grows beyond `limits::TIMELINE_LIST_MAX`.

use aws_lc_rs::digest;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey as Key;

use crate::limits::{CHAIN_CERTIFICATES_MAX, TIMELINE_LIST_MAX};
use crate::tls::hello::{self, ClientHello, Progress};

/// TLS 1.2 and TLS 1.3 as `supported_versions` and ServerHello write them.
pub(super) const TLS12: u16 = 0x0303;
pub(super) const TLS13: u16 = 0x0304;

/// The content type of a handshake record, and the type of a ClientHello in it.
pub(super) const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Bytes of a handshake message's header: its type and its length (RFC 8446, 4).
pub(super) const MESSAGE_HEADER_BYTES: usize = 4;

/// ServerHello.random of a HelloRetryRequest: SHA-256 of that name (RFC 8446, 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// RFC 8446, 4.1.2.
    ClientHello(ClientHello),
    /// RFC 8446, 4.1.3; also a HelloRetryRequest.
    ServerHello(ServerHello),
    /// RFC 8446, 4.3.1.
    EncryptedExtensions {
        /// The application protocol chosen.
        alpn: Option<Vec<u8>>,
        /// The types of all its extensions.
        extensions: Vec<u16>,
    },
    /// RFC 8446, 4.3.2.
    CertificateRequest {
        /// Signature schemes accepted in the client's CertificateVerify.
        schemes: Vec<u16>,
        /// Distinguished names of the authorities accepted.
        authorities: Vec<String>,
    },
    /// RFC 8446, 4.4.2; the sender's certificate first, none where a client has none.
    Certificate(Vec<Certificate>),
    /// RFC 8446, 4.4.3.
    CertificateVerify {
        /// The scheme signed with.
        scheme: u16,
        /// Bytes of the signature.
        signature_bytes: usize,
    },
    /// RFC 8446, 4.4.4.
    Finished {
        /// Whether it was decrypted; in TLS 1.2 it is not, and its place alone tells what it is.
        opened: bool,
    },
    /// TLS 1.2: RFC 8422, 5.4.
    ServerKeyExchange {
        /// The group chosen and the bytes of the server's share in it.
        share: Share,
        /// The scheme signed with.
        scheme: u16,
    },
    /// TLS 1.2.
    ServerHelloDone,
    /// TLS 1.2: the bytes of the client's share.
    ClientKeyExchange {
        /// Bytes of the share.
        share_bytes: usize,
    },
    /// RFC 8446, 4.6.1: a ticket and the seconds it lives.
    NewSessionTicket {
        /// Seconds.
        lifetime_s: u32,
        /// Bytes of the ticket itself.
        ticket_bytes: usize,
    },
    /// Any other handshake message, or one whose body is not what its type says.
    OtherHandshake {
        /// Its type (IANA, TLS HandshakeType).
        message_type: u8,
        /// Whether the type is known but the body is not what RFC 8446 makes of it.
        malformed: bool,
    },
    /// A handshake message whose end never came.
    Partial {
        /// Its type.
        message_type: u8,
    },
    /// RFC 8446, 5; of use in TLS 1.2 only.
    ChangeCipherSpec,
    /// RFC 8446, 6.
    Alert {
        /// Its description.
        description: u8,
    },
    /// What the application sent.
    ApplicationData,
    /// A record that could not be decrypted, or whose content is of no known type.
    Opaque {
        /// The content type of its header.
        content_type: u8,
    },
    /// Bytes that are no TLS record, or a record whose end never came.
    NotARecord,
    /// More than the decoder lists.
    TooMany,
}

/// A group and the bytes of a share in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// IANA, TLS Supported Groups.
    pub group: u16,
    /// Bytes of the share; 0 where the group is only named.
    pub bytes: usize,
}

/// What the server chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// Whether it is a HelloRetryRequest.
    pub retry: bool,
    /// The version.
    pub version: u16,
    /// Bytes of the session's ID: TLS 1.2 resumes by it, TLS 1.3 echoes the client's.
    pub session_id_bytes: usize,
    /// The cipher suite.
    pub suite: u16,
    /// The group and the server's share in it; TLS 1.2 sends them in ServerKeyExchange.
    pub share: Option<Share>,
    /// The application protocol, where TLS 1.2 says it here.
    pub alpn: Option<Vec<u8>>,
}

/// A certificate, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject's distinguished name, or why the certificate cannot be read.
    pub subject: String,
    /// Its issuer's distinguished name.
    pub issuer: String,
    /// Its subject alternative names, each with its kind: `DNS:a.example`.
    pub names: Vec<String>,
    /// Its key's type and size.
    pub key: String,
    /// When it begins, in seconds since 1970 (UTC).
    pub not_before_unix_s: i64,
    /// When it ends, in seconds since 1970 (UTC).
    pub not_after_unix_s: i64,
    /// Bytes of its DER.
    pub bytes: usize,
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
}

/// Reads the body of a handshake message of `version` (that of the ServerHello seen before, TLS 1.3
/// where none was).
pub(super) fn parse(message_type: u8, body: &[u8], version: u16) -> Body {
    let mut input = Input(body);
    let parsed = match message_type {
        CLIENT_HELLO => client_hello(body).map(Body::ClientHello),
        2 => server_hello(&mut input).map(Body::ServerHello),
        4 if version == TLS13 => ticket13(&mut input),
        4 => ticket12(&mut input),
        8 => encrypted_extensions(&mut input),
        11 => certificate(&mut input, version).map(Body::Certificate),
        12 => server_key_exchange(&mut input),
        13 if version == TLS13 => request13(&mut input),
        13 => request12(&mut input),
        14 => Some(Body::ServerHelloDone),
        15 => verify(&mut input),
        16 => input.vec8().map(|share| Body::ClientKeyExchange { share_bytes: share.0.len() }),
        20 => Some(Body::Finished { opened: true }),
        _ => {
            return Body::OtherHandshake { message_type, malformed: false };
        }
    };
    parsed.unwrap_or(Body::OtherHandshake { message_type, malformed: true })
}

/// Reads a ClientHello as the gateway does: its parser takes records, so the message goes into one.
fn client_hello(body: &[u8]) -> Option<ClientHello> {
    const VERSION: [u8; 2] = [3, 1];
    let [_, length @ ..] = u32::try_from(body.len()).ok()?.to_be_bytes();
    let record_bytes = u16::try_from(MESSAGE_HEADER_BYTES + body.len()).ok()?;
    let mut record = vec![HANDSHAKE];
    record.extend(VERSION);
    record.extend(record_bytes.to_be_bytes());
    record.push(CLIENT_HELLO);
    record.extend(length);
    record.extend_from_slice(body);
    match hello::parse(&record) {
        Ok(Progress::Complete(hello)) => Some(hello),
        Ok(Progress::NeedMore) | Err(_) => None,
    }
}

fn server_hello(input: &mut Input<'_>) -> Option<ServerHello> {
    let mut hello = ServerHello {
        version: input.u16()?,
        retry: input.take(32)? == RETRY_RANDOM,
        session_id_bytes: 0,
        suite: 0,
        share: None,
        alpn: None,
    };
    hello.session_id_bytes = input.vec8()?.0.len();
    hello.suite = input.u16()?;
    input.u8()?;
    for (kind, mut data) in extensions(input)? {
        match kind {
            16 => hello.alpn = data.vec16()?.strings8()?.pop(),
            43 => hello.version = data.u16()?,
            51 if hello.retry => {
                let group = data.u16()?;
                hello.share = Some(Share { group, bytes: 0 });
            }
            51 => hello.share = Some(data.share()?),
            _ => {}
        }
    }
    Some(hello)
}

fn encrypted_extensions(input: &mut Input<'_>) -> Option<Body> {
    let mut alpn = None;
    let mut kinds = Vec::new();
    for (kind, mut data) in extensions(input)? {
        kinds.push(kind);
        if kind == 16 {
            alpn = data.vec16()?.strings8()?.pop();
        }
    }
    Some(Body::EncryptedExtensions { alpn, extensions: kinds })
}

fn request13(input: &mut Input<'_>) -> Option<Body> {
    input.vec8()?;
    let mut schemes = Vec::new();
    let mut authorities = Vec::new();
    for (kind, mut data) in extensions(input)? {
        match kind {
            13 => schemes = data.vec16()?.u16s(),
            47 => authorities = data.vec16()?.names()?,
            _ => {}
        }
    }
    Some(Body::CertificateRequest { schemes, authorities })
}

fn request12(input: &mut Input<'_>) -> Option<Body> {
    input.vec8()?;
    let schemes = input.vec16()?.u16s();
    let authorities = input.vec16()?.names()?;
    Some(Body::CertificateRequest { schemes, authorities })
}

fn certificate(input: &mut Input<'_>, version: u16) -> Option<Vec<Certificate>> {
    if version == TLS13 {
        input.vec8()?;
    }
    let mut list = input.vec24()?;
    let mut chain = Vec::new();
    while !list.0.is_empty() && chain.len() < CHAIN_CERTIFICATES_MAX {
        chain.push(summarise(list.vec24()?.0));
        if version == TLS13 {
            list.vec16()?;
        }
    }
    Some(chain)
}

fn server_key_exchange(input: &mut Input<'_>) -> Option<Body> {
    const NAMED_CURVE: u8 = 3;
    if input.u8()? != NAMED_CURVE {
        return None;
    }
    let group = input.u16()?;
    let bytes = input.vec8()?.0.len();
    Some(Body::ServerKeyExchange { share: Share { group, bytes }, scheme: input.u16()? })
}

fn verify(input: &mut Input<'_>) -> Option<Body> {
    Some(Body::CertificateVerify { scheme: input.u16()?, signature_bytes: input.vec16()?.0.len() })
}

fn ticket13(input: &mut Input<'_>) -> Option<Body> {
    let lifetime_s = input.u32()?;
    input.u32()?;
    input.vec8()?;
    Some(Body::NewSessionTicket { lifetime_s, ticket_bytes: input.vec16()?.0.len() })
}

fn ticket12(input: &mut Input<'_>) -> Option<Body> {
    Some(Body::NewSessionTicket { lifetime_s: input.u32()?, ticket_bytes: input.vec16()?.0.len() })
}

/// The extensions of a message; none where it ends before them, as TLS 1.2 allows.
fn extensions<'a>(input: &mut Input<'a>) -> Option<Vec<(u16, Input<'a>)>> {
    let mut all = Vec::new();
    if input.0.is_empty() {
        return Some(all);
    }
    let mut list = input.vec16()?;
    while !list.0.is_empty() && all.len() < TIMELINE_LIST_MAX {
        all.push((list.u16()?, list.vec16()?));
    }
    Some(all)
}

fn summarise(der: &[u8]) -> Certificate {
    let mut summary = Certificate {
        subject: String::from("(not a certificate)"),
        issuer: String::new(),
        names: Vec::new(),
        key: String::from("unknown key"),
        not_before_unix_s: 0,
        not_after_unix_s: 0,
        bytes: der.len(),
        sha256: [0; 32],
    };
    summary.sha256.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    let Ok((_, parsed)) = X509Certificate::from_der(der) else {
        return summary;
    };
    summary.subject = display_name(parsed.subject());
    summary.issuer = display_name(parsed.issuer());
    summary.key = key_name(&parsed);
    summary.not_before_unix_s = parsed.validity().not_before.timestamp();
    summary.not_after_unix_s = parsed.validity().not_after.timestamp();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        let names = extension.value.general_names.iter();
        summary.names = names.take(TIMELINE_LIST_MAX).map(alternative).collect();
    }
    summary
}

fn display_name(name: &X509Name<'_>) -> String {
    let text = name.to_string();
    if text.is_empty() {
        return String::from("(empty subject)");
    }
    text
}

fn key_name(certificate: &X509Certificate<'_>) -> String {
    let spki = certificate.public_key();
    let curve = spki.algorithm.parameters.as_ref();
    let curve = curve.and_then(|any| any.as_oid().ok().map(|oid| oid.to_id_string()));
    match (spki.parsed(), spki.algorithm.algorithm.to_id_string()) {
        (Ok(Key::RSA(key)), _) => format!("RSA {}", key.key_size()),
        (Ok(Key::EC(_)), _) => match curve.as_deref() {
            Some("1.2.840.10045.3.1.7") => String::from("P-256"),
            Some("1.3.132.0.34") => String::from("P-384"),
            Some("1.3.132.0.35") => String::from("P-521"),
            other => format!("EC {}", other.unwrap_or("of an unnamed curve")),
        },
        (_, oid) if oid == "1.3.101.112" => String::from("Ed25519"),
        (_, oid) if oid == "1.3.101.113" => String::from("Ed448"),
        (_, oid) => format!("key {oid}"),
    }
}

fn alternative(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::RFC822Name(mail) => format!("email:{mail}"),
        GeneralName::DirectoryName(name) => format!("DN:{}", display_name(name)),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), bytes.len()) {
            (Ok(four), _) => format!("IP:{}", std::net::Ipv4Addr::from(four)),
            (Err(_), 16) => <[u8; 16]>::try_from(*bytes).map_or_else(
                |_| String::from("IP:?"),
                |sixteen| format!("IP:{}", std::net::Ipv6Addr::from(sixteen)),
            ),
            (Err(_), length) => format!("IP:({length} bytes)"),
        },
        _ => String::from("(other name)"),
    }
}

/// Bytes still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u32> {
        let digits = self.take(bytes)?.iter();
        Some(digits.fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.number(4)
    }

    fn vector(&mut self, length_bytes: usize) -> Option<Self> {
        let length = self.number(length_bytes)?;
        self.take(usize::try_from(length).ok()?).map(Input)
    }

    fn vec8(&mut self) -> Option<Self> {
        self.vector(1)
    }

    fn vec16(&mut self) -> Option<Self> {
        self.vector(2)
    }

    fn vec24(&mut self) -> Option<Self> {
        self.vector(3)
    }

    fn share(&mut self) -> Option<Share> {
        let group = self.u16()?;
        let bytes = self.vec16()?.0.len();
        Some(Share { group, bytes })
    }

    fn u16s(&self) -> Vec<u16> {
        let pairs = self.0.chunks_exact(2).take(TIMELINE_LIST_MAX);
        pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    fn strings8(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        while !self.0.is_empty() && all.len() < TIMELINE_LIST_MAX {
            all.push(self.vec8()?.0.to_vec());
        }
        Some(all)
    }

    fn names(&mut self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        while !self.0.is_empty() && all.len() < TIMELINE_LIST_MAX {
            let der = self.vec16()?.0;
            all.push(match X509Name::from_der(der) {
                Ok((_, name)) => display_name(&name),
                Err(_) => format!("({} bytes that are no name)", der.len()),
            });
        }
        Some(all)
    }
}
