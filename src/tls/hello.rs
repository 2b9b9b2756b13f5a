//! The ClientHello, read from the raw bytes of a connection before TLS begins.
//!
//! Sans-IO and pure: bytes in, a [`ClientHello`] or the reason why there is none out. It decides
//! nothing and must not know listeners, certificates or rustls. The invariant: nothing is
//! allocated before the message is complete, and a caller that buffers what [`parse`] asks for
//! never holds [`CLIENT_HELLO_BYTES_MAX`] bytes or more.
//!
//! It checks what it reads and the MUSTs that concern it; the handshake itself, which gets the
//! same bytes afterwards, checks the rest.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::DnsName;

use crate::limits::{
    CLIENT_HELLO_BYTES_MAX, HELLO_EXTENSIONS_MAX, HELLO_KEY_SHARES_MAX, HELLO_PROTOCOLS_MAX,
    HTTP_METHOD_BYTES_MAX,
};

pub use crate::tls::names::is_grease;

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
const RECORD_HEADER_BYTES: usize = 5;
const MESSAGE_HEADER_BYTES: usize = 4;
/// Plaintext of one record, RFC 8446, 5.1.
const FRAGMENT_BYTES_MAX: usize = 1 << 14;

/// What [`parse`] makes of bytes.
pub type Hello = Result<Progress, HelloError>;

/// How far the bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So far sound, but cut off: call again with these bytes and more after them.
    NeedMore,
    /// The whole message is there.
    Complete(ClientHello),
}

/// What a client offers (RFC 8446, 4.1.2), in its order and with GREASE values kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// `legacy_version`; it says nothing where `supported_versions` was sent.
    pub legacy_version: u16,
    /// The DNS name of `server_name` (RFC 6066, 3) in lower case.
    pub server_name: Option<String>,
    /// Protocol names of ALPN (RFC 7301); empty where it was not sent.
    pub alpn: Vec<Vec<u8>>,
    /// `supported_versions`; where it was not sent, the one that `legacy_version` asks for.
    pub versions: Vec<u16>,
    /// Cipher suites.
    pub suites: Vec<u16>,
    /// `supported_groups`.
    pub groups: Vec<u16>,
    /// Group of each key share, and the bytes of its key.
    pub key_shares: Vec<(u16, usize)>,
    /// `signature_algorithms`.
    pub signature_schemes: Vec<u16>,
    /// A TLS 1.3 ticket or external key is offered.
    pub has_pre_shared_key: bool,
    /// 0-RTT data follows.
    pub has_early_data: bool,
    /// A TLS 1.2 ticket is offered; the empty extension that asks for one does not count.
    pub has_session_ticket: bool,
    /// Bytes of `legacy_session_id`, up to 32.
    pub session_id_len: usize,
    /// Bytes of the records that carried the message, their headers included.
    pub bytes: usize,
}

impl ClientHello {
    /// Whether it offers a session to resume, as far as it says. In TLS 1.3 `legacy_session_id` is
    /// made up for middleboxes (RFC 8446, D.4); only without it does the field name a session.
    pub fn offers_session(&self) -> bool {
        let names_session = self.session_id_len > 0 && !self.versions.contains(&TLS13);
        self.has_pre_shared_key || self.has_session_ticket || names_session
    }
}

/// Why bytes are no ClientHello that could be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// A method and a space: HTTP without TLS, or another text protocol that looks alike.
    PlainHttp,
    /// An SSL 2.0 CLIENT-HELLO; RFC 6176 forbids the protocol, RFC 8446, D.5 this way to 1.0-1.2.
    Ssl2,
    /// Another protocol; its first byte.
    NotTls(u8),
    /// A TLS record, but no handshake record where one has to be; its content type.
    NotHandshake(u8),
    /// A record of more than 2^14 bytes; its length.
    RecordOverflow(usize),
    /// A handshake message of another type; its type.
    NotClientHello(u8),
    /// More bytes announced than [`CLIENT_HELLO_BYTES_MAX`], record headers included.
    TooLarge,
    /// It contradicts the syntax of TLS: what is wrong.
    Malformed(&'static str),
    /// It is well-formed and forbidden: what, and by which section.
    Illegal(&'static str),
    /// An extension that has to be there is not: which.
    MissingExtension(&'static str),
    /// Neither TLS 1.2 nor 1.3 is offered; `legacy_version`.
    UnsupportedVersion(u16),
}

impl HelloError {
    /// The TLS alert to answer with (RFC 8446, 6); `None` where the client speaks no TLS.
    pub fn alert(&self) -> Option<u8> {
        match self {
            Self::PlainHttp | Self::Ssl2 | Self::NotTls(_) => None,
            Self::NotHandshake(_) | Self::NotClientHello(_) => Some(10),
            Self::RecordOverflow(_) => Some(22),
            Self::TooLarge | Self::Illegal(_) => Some(47),
            Self::Malformed(_) => Some(50),
            Self::UnsupportedVersion(_) => Some(70),
            Self::MissingExtension(_) => Some(109),
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp => f.write_str(
                "plain HTTP where a TLS ClientHello was expected: connect with https, or with TLS",
            ),
            Self::Ssl2 => f.write_str("an SSL 2.0 hello: the client has to offer TLS 1.2 or 1.3"),
            Self::NotTls(byte) => write!(
                f,
                "first byte 0x{byte:02x} where a TLS handshake record (0x16) was expected: the \
                 client does not speak TLS"
            ),
            Self::NotHandshake(kind) => {
                write!(f, "a TLS record of type {kind} where the ClientHello (22) was expected")
            }
            Self::RecordOverflow(length) => {
                write!(f, "a record of {length} bytes; TLS allows {FRAGMENT_BYTES_MAX}")
            }
            Self::NotClientHello(kind) => {
                write!(f, "a handshake message of type {kind} where ClientHello (1) was expected")
            }
            Self::TooLarge => {
                write!(f, "a ClientHello of more than {CLIENT_HELLO_BYTES_MAX} bytes")
            }
            Self::Malformed(what) => write!(f, "malformed ClientHello: {what}"),
            Self::Illegal(what) => write!(f, "ClientHello against the standard: {what}"),
            Self::MissingExtension(what) => write!(f, "ClientHello lacks an extension: {what}"),
            Self::UnsupportedVersion(legacy) => write!(
                f,
                "the client offers neither TLS 1.2 nor TLS 1.3 (legacy_version {}): raise its \
                 highest version",
                crate::tls::names::version_name(*legacy)
            ),
        }
    }
}

impl std::error::Error for HelloError {}

/// Reads the ClientHello at the beginning of a connection's bytes.
///
/// Pass everything received so far, from the first byte; after [`Progress::NeedMore`] call again
/// once there is more. What follows the message's records is not looked at. The cost of a call is
/// bounded by [`CLIENT_HELLO_BYTES_MAX`].
pub fn parse(bytes: &[u8]) -> Hello {
    let Some(&first) = bytes.first() else {
        return Ok(Progress::NeedMore);
    };
    match first {
        22 => {}
        // The other content types of RFC 8446, 5.1 and heartbeat's, RFC 6520.
        20 | 21 | 23 | 24 => return Err(HelloError::NotHandshake(first)),
        _ => return other_protocol(bytes, first),
    }
    let Some((message, consumed)) = assemble(bytes)? else {
        return Ok(Progress::NeedMore);
    };
    let mut hello = parse_body(&message)?;
    hello.bytes = consumed;
    Ok(Progress::Complete(hello))
}

/// Tells what a client speaks that does not speak TLS.
fn other_protocol(bytes: &[u8], first: u8) -> Hello {
    if first & 0x80 != 0 {
        // A two-byte length with its high bit set, then message type CLIENT-HELLO.
        return match bytes.get(2) {
            None => Ok(Progress::NeedMore),
            Some(1) => Err(HelloError::Ssl2),
            Some(_) => Err(HelloError::NotTls(first)),
        };
    }
    let is_method = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'-';
    let method_bytes = bytes.iter().take_while(|byte| is_method(byte)).count();
    if method_bytes == 0 || method_bytes > HTTP_METHOD_BYTES_MAX {
        return Err(HelloError::NotTls(first));
    }
    match bytes.get(method_bytes) {
        None => Ok(Progress::NeedMore),
        // The PROXY protocol's text header begins alike.
        Some(b' ') if &bytes[..method_bytes] != b"PROXY" => Err(HelloError::PlainHttp),
        Some(_) => Err(HelloError::NotTls(first)),
    }
}

/// The body of a message, and the bytes of the records that carried it.
type Assembled<'a> = (Cow<'a, [u8]>, usize);

/// Joins the fragments of the message; `None` where it is cut off.
///
/// Most messages come in one record, and then the body is borrowed.
fn assemble(bytes: &[u8]) -> Result<Option<Assembled<'_>>, HelloError> {
    let mut header = [0; MESSAGE_HEADER_BYTES];
    let mut gathered = 0;
    let mut offset = 0;
    loop {
        // RFC 8446, 5.1 forbids empty fragments, so another record is a header and a byte or more.
        if offset + RECORD_HEADER_BYTES + 1 > CLIENT_HELLO_BYTES_MAX {
            return Err(HelloError::TooLarge);
        }
        let Some(length) = record_length(&bytes[offset..])? else {
            return Ok(None);
        };
        let start = offset + RECORD_HEADER_BYTES;
        let end = start + length;
        // Before the content is looked at, which may not be there yet: the answer must not depend
        // on how much is.
        if end > CLIENT_HELLO_BYTES_MAX {
            return Err(HelloError::TooLarge);
        }
        let fragment = &bytes[start..end.min(bytes.len())];
        for (cell, &byte) in header.iter_mut().skip(gathered).zip(fragment) {
            *cell = byte;
        }
        let before = gathered;
        gathered += fragment.len();
        let announced = message_length(header, gathered)?;
        if announced.is_some_and(|announced| before + length > announced) {
            return Err(HelloError::Illegal("bytes after it in its record (RFC 8446, 5.1)"));
        }
        if announced == Some(gathered) {
            return Ok(Some((body(&bytes[..end], gathered), end)));
        }
        if fragment.len() < length {
            return Ok(None);
        }
        offset = end;
    }
}

/// Length of the fragment of the record that begins `bytes`; `None` without a whole header.
fn record_length(bytes: &[u8]) -> Result<Option<usize>, HelloError> {
    // RFC 8446, 5.1: handshake messages MUST NOT be interleaved with other record types.
    if let Some(&kind) = bytes.first().filter(|&&kind| kind != 22) {
        return Err(HelloError::NotHandshake(kind));
    }
    // legacy_record_version MUST be ignored for all purposes (RFC 8446, 5.1).
    let Some(&[_, _, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes([high, low])) {
        // RFC 8446, 5.1: zero-length fragments of handshake types MUST NOT be sent.
        0 => Err(HelloError::Illegal("a record of no bytes (RFC 8446, 5.1)")),
        // RFC 8446, 5.1: the length MUST NOT exceed 2^14; alert record_overflow.
        length if length > FRAGMENT_BYTES_MAX => Err(HelloError::RecordOverflow(length)),
        length => Ok(Some(length)),
    }
}

/// Bytes of the message, its header included; `None` where less than the header was gathered.
fn message_length(header: [u8; 4], gathered: usize) -> Result<Option<usize>, HelloError> {
    let [kind, high, middle, low] = header;
    if gathered > 0 && kind != 1 {
        return Err(HelloError::NotClientHello(kind));
    }
    if gathered < MESSAGE_HEADER_BYTES {
        return Ok(None);
    }
    let message_bytes = MESSAGE_HEADER_BYTES + u32::from_be_bytes([0, high, middle, low]) as usize;
    if RECORD_HEADER_BYTES + message_bytes > CLIENT_HELLO_BYTES_MAX {
        return Err(HelloError::TooLarge);
    }
    Ok(Some(message_bytes))
}

/// The body of a message of `message_bytes`, of which `records` holds exactly the records.
fn body(records: &[u8], message_bytes: usize) -> Cow<'_, [u8]> {
    if records.len() == RECORD_HEADER_BYTES + message_bytes {
        return Cow::Borrowed(&records[RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES..]);
    }
    let mut message = Vec::with_capacity(message_bytes);
    let mut rest = records;
    while let Some(&[_, _, _, high, low]) = rest.first_chunk() {
        let end = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        message.extend_from_slice(&rest[RECORD_HEADER_BYTES..end]);
        rest = &rest[end..];
    }
    message.drain(..MESSAGE_HEADER_BYTES);
    Cow::Owned(message)
}

/// RFC 8446, 4.1.2, and RFC 5246, 7.4.1.2 for what offers TLS 1.2 only.
fn parse_body(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut rest = Reader(body);
    let mut hello =
        ClientHello { legacy_version: rest.u16("legacy_version")?, ..ClientHello::default() };
    // RFC 8446, D.5: a legacy_version of 0x0300 MUST be answered with protocol_version.
    if hello.legacy_version <= 0x0300 {
        return Err(HelloError::UnsupportedVersion(hello.legacy_version));
    }
    rest.take(32, "random")?;
    hello.session_id_len = rest.vector8("legacy_session_id")?.len();
    if hello.session_id_len > 32 {
        return Err(HelloError::Malformed("a legacy_session_id of more than 32 bytes"));
    }
    hello.suites = code_points(rest.vector16("cipher_suites")?, "cipher_suites")?;
    let compression = rest.vector8("legacy_compression_methods")?;
    // A TLS 1.2 hello may end here (RFC 5246, 7.4.1.2).
    if !rest.0.is_empty() {
        let extensions = rest.vector16("extensions")?;
        rest.end("bytes after the extensions")?;
        parse_extensions(extensions, &mut hello)?;
    }
    if hello.versions.is_empty() {
        // RFC 8446, 4.2.1: without supported_versions, TLS 1.2 or lower, whatever it claims.
        hello.versions.push(hello.legacy_version.min(TLS12));
    }
    if hello.versions.contains(&TLS13) {
        // RFC 8446, 4.1.2: this vector MUST contain exactly one byte, set to zero.
        if compression != [0] {
            return Err(HelloError::Illegal("compression in TLS 1.3 (RFC 8446, 4.1.2)"));
        }
    } else if !hello.versions.contains(&TLS12) {
        return Err(HelloError::UnsupportedVersion(hello.legacy_version));
    } else if !compression.contains(&0) {
        // RFC 5246, 7.4.1.2: the vector MUST contain CompressionMethod.null.
        return Err(HelloError::Illegal("no null compression (RFC 5246, 7.4.1.2)"));
    }
    Ok(hello)
}

fn parse_extensions(extensions: &[u8], hello: &mut ClientHello) -> Result<(), HelloError> {
    let mut seen = [0_u16; HELLO_EXTENSIONS_MAX];
    let mut count = 0;
    let mut rest = Reader(extensions);
    while !rest.0.is_empty() {
        // RFC 8446, 4.2.11: pre_shared_key MUST be the last; servers MUST check.
        if hello.has_pre_shared_key {
            return Err(HelloError::Illegal("pre_shared_key is not last (RFC 8446, 4.2.11)"));
        }
        let kind = rest.u16("extension type")?;
        let body = rest.vector16("extension")?;
        // RFC 8446, 4.2: there MUST NOT be more than one extension of the same type.
        if seen[..count].contains(&kind) {
            return Err(HelloError::Illegal("an extension twice (RFC 8446, 4.2)"));
        }
        let Some(cell) = seen.get_mut(count) else {
            return Err(HelloError::Malformed("more extensions than are allowed here"));
        };
        *cell = kind;
        count += 1;
        parse_extension(kind, body, hello)?;
    }
    // RFC 8446, 4.2.9: without psk_key_exchange_modes beside it, servers MUST abort.
    if hello.has_pre_shared_key && !seen[..count].contains(&45) {
        return Err(HelloError::MissingExtension("psk_key_exchange_modes (RFC 8446, 4.2.9)"));
    }
    Ok(())
}

fn parse_extension(kind: u16, body: &[u8], hello: &mut ClientHello) -> Result<(), HelloError> {
    let mut rest = Reader(body);
    match kind {
        0 => hello.server_name = server_name(rest.vector16("server_name")?)?,
        10 => {
            let groups = rest.vector16("supported_groups")?;
            hello.groups = code_points(groups, "supported_groups")?;
        }
        13 => {
            let schemes = rest.vector16("signature_algorithms")?;
            hello.signature_schemes = code_points(schemes, "signature_algorithms")?;
        }
        16 => hello.alpn = protocols(rest.vector16("ALPN")?)?,
        35 => hello.has_session_ticket = !rest.rest().is_empty(),
        41 => hello.has_pre_shared_key = !rest.rest().is_empty(),
        // RFC 8446, 4.2.10: empty in a ClientHello.
        42 => hello.has_early_data = true,
        43 => {
            let versions = rest.vector8("supported_versions")?;
            hello.versions = code_points(versions, "supported_versions")?;
        }
        51 => hello.key_shares = key_shares(rest.vector16("key_share")?)?,
        _ => return Ok(()),
    }
    rest.end("an extension is longer than its content")
}

/// The host name of a ServerNameList, RFC 6066, 3.
fn server_name(list: &[u8]) -> Result<Option<String>, HelloError> {
    if list.is_empty() {
        return Err(HelloError::Malformed("an empty server_name list"));
    }
    let mut name = None;
    let mut rest = Reader(list);
    while !rest.0.is_empty() {
        let kind = rest.u8("server_name type")?;
        // Names of types to come MUST begin with a 16-bit length too, so they can be skipped.
        let bytes = rest.vector16("server_name")?;
        if kind != 0 {
            continue;
        }
        // The list MUST NOT contain more than one name of the same type.
        if name.replace(host_name(bytes)?).is_some() {
            return Err(HelloError::Illegal("two host names (RFC 6066, 3)"));
        }
    }
    Ok(name)
}

/// A HostName of RFC 6066, 3: ASCII, fully qualified, and in lower case because it is compared.
fn host_name(bytes: &[u8]) -> Result<String, HelloError> {
    let text = str::from_utf8(bytes).map_err(|_| HelloError::Illegal("server_name: not ASCII"))?;
    if text.ends_with('.') {
        return Err(HelloError::Illegal("server_name: a trailing dot (RFC 6066, 3)"));
    }
    // Literal IPv4 and IPv6 addresses are not permitted.
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(HelloError::Illegal("server_name: an IP address (RFC 6066, 3)"));
    }
    if DnsName::try_from(text).is_err() {
        return Err(HelloError::Illegal("server_name: not a DNS name (RFC 6066, 3)"));
    }
    Ok(text.to_ascii_lowercase())
}

/// A ProtocolNameList, RFC 7301, 3.1.
fn protocols(list: &[u8]) -> Result<Vec<Vec<u8>>, HelloError> {
    if list.is_empty() {
        return Err(HelloError::Malformed("an empty ALPN list"));
    }
    let mut names = Vec::new();
    let mut rest = Reader(list);
    while !rest.0.is_empty() {
        let name = rest.vector8("ALPN")?;
        // Empty strings MUST NOT be included.
        if name.is_empty() {
            return Err(HelloError::Malformed("an empty ALPN name (RFC 7301, 3.1)"));
        }
        if names.len() == HELLO_PROTOCOLS_MAX {
            return Err(HelloError::Malformed("more ALPN names than are allowed here"));
        }
        names.push(name.to_vec());
    }
    Ok(names)
}

/// The entries of KeyShareClientHello, RFC 8446, 4.2.8; none asks for a HelloRetryRequest.
fn key_shares(list: &[u8]) -> Result<Vec<(u16, usize)>, HelloError> {
    let mut shares: Vec<(u16, usize)> = Vec::new();
    let mut rest = Reader(list);
    while !rest.0.is_empty() {
        let group = rest.u16("key_share group")?;
        let key = rest.vector16("key_share")?;
        if key.is_empty() {
            return Err(HelloError::Malformed("an empty key_share"));
        }
        if shares.iter().any(|share| share.0 == group) {
            return Err(HelloError::Illegal("two key shares of a group (RFC 8446, 4.2.8)"));
        }
        if shares.len() == HELLO_KEY_SHARES_MAX {
            return Err(HelloError::Malformed("more key shares than are allowed here"));
        }
        shares.push((group, key.len()));
    }
    Ok(shares)
}

/// A list of 16-bit code points; TLS has no list of them that may be empty.
fn code_points(list: &[u8], what: &'static str) -> Result<Vec<u16>, HelloError> {
    let (pairs, odd) = list.as_chunks();
    if pairs.is_empty() || !odd.is_empty() {
        return Err(HelloError::Malformed(what));
    }
    Ok(pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect())
}

/// The part of a message that is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HelloError::Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, HelloError> {
        Ok(self.take(1, what)?[0])
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, HelloError> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self, what: &'static str) -> Result<&'a [u8], HelloError> {
        let length = self.u8(what)?;
        self.take(usize::from(length), what)
    }

    fn vector16(&mut self, what: &'static str) -> Result<&'a [u8], HelloError> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }

    fn end(&self, what: &'static str) -> Result<(), HelloError> {
        if self.0.is_empty() { Ok(()) } else { Err(HelloError::Malformed(what)) }
    }
}

#[cfg(test)]
mod tests;
