//! Tests of the ClientHello parser, on hellos that real clients make.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rustls::client::UnbufferedClientConnection;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

fn client_config(alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has both versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn rustls_hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let name = name.to_owned().try_into().expect("a server name");
    let mut client = ClientConnection::new(client_config(alpn), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a Vec takes all");
    bytes
}

fn unbuffered_hello() -> Vec<u8> {
    use rustls::unbuffered::ConnectionState;
    let name = "un.example".try_into().expect("a server name");
    let mut client = UnbufferedClientConnection::new(client_config(&[]), name).expect("a client");
    let status = client.process_tls_records(&mut []);
    let Ok(ConnectionState::EncodeTlsData(mut state)) = status.state else {
        panic!("a client speaks first");
    };
    let mut bytes = vec![0; 4096];
    let count = state.encode(&mut bytes).expect("it fits");
    bytes.truncate(count);
    bytes
}

/// What `openssl s_client` sends first.
fn openssl_hello(arguments: &[&str]) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test needs the openssl command");
    let (mut stream, _) = listener.accept().expect("openssl connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    let mut bytes = Vec::new();
    while parse(&bytes) == Ok(Progress::NeedMore) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).expect("openssl sends a whole hello");
        assert!(count > 0, "openssl closed after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..count]);
    }
    drop(stream);
    child.wait().expect("openssl ends when its connection does");
    bytes
}

fn complete(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        Ok(Progress::Complete(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn error(bytes: &[u8]) -> HelloError {
    parse(bytes).expect_err("this is to be refused")
}

/// The handshake message of a hello in one record, in records of `size` bytes.
fn fragmented(bytes: &[u8], size: usize) -> Vec<u8> {
    bytes[5..].chunks(size).flat_map(record_of).collect()
}

fn record_of(fragment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fragment.len()).expect("a record").to_be_bytes();
    [&[22, 3, 1, length[0], length[1]], fragment].concat()
}

fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a vector").to_be_bytes();
    [&length, bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(body)].concat()
}

/// A hello made by hand, its lengths right.
fn hello_of(legacy_version: u16, compression: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = legacy_version.to_be_bytes().to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend(vector16(&[0x13, 0x01, 0x0a, 0x0a]));
    body.push(u8::try_from(compression.len()).expect("short"));
    body.extend_from_slice(compression);
    body.extend(vector16(&extensions.concat()));
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    record_of(&[&[1, length[1], length[2], length[3]], &body[..]].concat())
}

fn with_extensions(extensions: &[Vec<u8>]) -> Vec<u8> {
    hello_of(TLS12, &[0], extensions)
}

fn with_name(name: &[u8]) -> Vec<u8> {
    let list = vector16(&[&[0][..], &vector16(name)].concat());
    with_extensions(&[extension(0, &list)])
}

const TLS13_OFFERED: [u8; 3] = [2, 3, 4];

#[test]
fn the_hello_of_rustls_is_read() {
    let bytes = rustls_hello("WWW.Example.COM", &[b"h2", b"http/1.1"]);
    let hello = complete(&bytes);
    assert_eq!(hello.server_name.as_deref(), Some("www.example.com"));
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(hello.versions, [TLS13, TLS12]);
    assert_eq!(hello.legacy_version, TLS12);
    assert!(hello.suites.contains(&0x1301) && hello.groups.contains(&0x001d));
    assert!(hello.signature_schemes.contains(&0x0403));
    let share = hello.key_shares.iter().find(|share| share.0 == 0x001d);
    assert!(share.is_none_or(|share| share.1 == 32) && !hello.key_shares.is_empty());
    assert_eq!((hello.session_id_len, hello.bytes), (32, bytes.len()));
    assert!(!hello.has_pre_shared_key && !hello.has_early_data && !hello.has_session_ticket);
    assert_eq!(complete(&unbuffered_hello()).server_name.as_deref(), Some("un.example"));
}

#[test]
fn the_hello_of_openssl_is_read() {
    let arguments = ["-servername", "db.example", "-alpn", "h2,http/1.1", "-groups", "P-256"];
    let hello = complete(&openssl_hello(&arguments));
    assert_eq!(hello.server_name.as_deref(), Some("db.example"));
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!((hello.groups, hello.key_shares), (vec![0x0017], vec![(0x0017, 65)]));
    assert!(hello.versions.contains(&TLS13) && hello.suites.contains(&0x1302));
    let old = complete(&openssl_hello(&["-tls1_2", "-noservername"]));
    assert_eq!((old.versions, old.server_name), (vec![TLS12], None));
    assert!(old.key_shares.is_empty() && old.suites.contains(&0xc02f));
}

#[test]
fn a_hello_cut_at_any_byte_needs_more() {
    let openssl = openssl_hello(&["-servername", "db.example"]);
    for bytes in [rustls_hello("a.example", &[b"h2"]), unbuffered_hello(), openssl] {
        for sent in [bytes.clone(), fragmented(&bytes, 100)] {
            for cut in 0..sent.len() {
                assert_eq!(parse(&sent[..cut]), Ok(Progress::NeedMore), "cut at {cut}");
            }
            complete(&sent);
        }
    }
}

#[test]
fn a_hello_in_records_of_one_byte_is_the_same_hello() {
    let bytes = with_name(b"slow.example");
    let whole = complete(&bytes);
    for size in [1, 2, 3, 7, 50] {
        let mut sent = fragmented(&bytes, size);
        let expected = ClientHello { bytes: sent.len(), ..whole.clone() };
        sent.extend_from_slice(b"\x17\x03\x03 what follows is not looked at");
        assert_eq!(complete(&sent), expected);
    }
}

#[test]
fn other_protocols_are_told_apart() {
    for text in ["GET / HTTP/1.1", "PRI * HTTP/2.0", "POST /", "M-SEARCH * ", "get /"] {
        assert_eq!(error(text.as_bytes()), HelloError::PlainHttp, "{text}");
    }
    assert_eq!(parse(b"GET"), Ok(Progress::NeedMore));
    assert_eq!(parse(b""), Ok(Progress::NeedMore));
    for text in ["SSH-2.0-OpenSSH_9.9 x", "PROXY TCP4 ", "\0\0\0\x08", "GET\r\n", "\x05\x01"] {
        assert_eq!(error(text.as_bytes()), HelloError::NotTls(text.as_bytes()[0]), "{text}");
    }
    assert_eq!(error(&[b'A'; HTTP_METHOD_BYTES_MAX + 1]), HelloError::NotTls(b'A'));
    assert_eq!(error(&[0x80, 0x2e, 0x01, 0x03, 0x01]), HelloError::Ssl2);
    assert_eq!(error(&[0x80, 0x2e, 0x02]), HelloError::NotTls(0x80));
    assert_eq!(error(&[21, 3, 1, 0, 2, 1, 0]), HelloError::NotHandshake(21));
    assert_eq!(error(&[22, 3, 1, 0, 4, 2]), HelloError::NotClientHello(2));
}

#[test]
fn a_hello_that_announces_too_much_is_refused_at_once() {
    // 64 KiB of message: its header is enough.
    assert_eq!(error(&[22, 3, 1, 0x3f, 0, 1, 1, 0, 0]), HelloError::TooLarge);
    assert_eq!(error(&[22, 3, 1, 0x40, 1]), HelloError::RecordOverflow(0x4001));
    // The headers of 1-byte records count too.
    let long = fragmented(&record_of(&[&[1, 0, 0x30, 0][..], &[0; 0x3000]].concat()), 1);
    let cut = &long[..CLIENT_HELLO_BYTES_MAX];
    assert_eq!(error(cut), HelloError::TooLarge);
    // It would fit in one record, and not with the header of a second.
    let message_bytes = CLIENT_HELLO_BYTES_MAX - RECORD_HEADER_BYTES;
    let mut message = vec![0; message_bytes];
    message[..4].copy_from_slice(&[1, 0, 0x3f, 0xf7]);
    let two = fragmented(&record_of(&message), 16_000);
    assert_eq!(parse(&two[..16_009]), Ok(Progress::NeedMore));
    assert_eq!(error(&two[..16_010]), HelloError::TooLarge);
    let tight = fragmented(&record_of(&message), message_bytes);
    assert_eq!(parse(&tight[..100]), Ok(Progress::NeedMore));
}

#[test]
fn what_is_refused_is_refused_in_the_same_way_however_much_has_come() {
    // Too large by its record's header, and no ClientHello by its content.
    let sent = [22, 3, 1, 0x40, 0, 2, 1, 0, 128, 0];
    for end in 5..=sent.len() {
        assert_eq!(error(&sent[..end]), HelloError::TooLarge, "{end} bytes");
    }
}

#[test]
fn records_against_the_standard_are_refused() {
    assert!(matches!(error(&[22, 3, 1, 0, 0]), HelloError::Illegal(_)));
    let bytes = with_extensions(&[]);
    let mut interleaved = fragmented(&bytes, 20);
    interleaved[25] = 23;
    assert_eq!(error(&interleaved), HelloError::NotHandshake(23));
    let trailing = record_of(&[&bytes[5..], &[0]].concat());
    assert!(matches!(error(&trailing), HelloError::Illegal(_)));
}

#[test]
fn versions_that_cannot_be_served_are_refused() {
    for legacy in [0x0200, 0x0300, 0x0301, 0x0302] {
        let sent = hello_of(legacy, &[0], &[]);
        assert_eq!(error(&sent), HelloError::UnsupportedVersion(legacy));
    }
    let only_old = with_extensions(&[extension(43, &[4, 3, 2, 0x1a, 0x1a])]);
    assert_eq!(error(&only_old), HelloError::UnsupportedVersion(TLS12));
    assert_eq!(complete(&hello_of(0x0305, &[0], &[])).versions, [TLS12]);
    // RFC 8446, 4.2.1: with the extension, legacy_version is not looked at.
    let new = hello_of(0x0301, &[0], &[extension(43, &TLS13_OFFERED)]);
    assert_eq!(complete(&new).versions, [TLS13]);
}

#[test]
fn a_tls_12_hello_may_end_without_extensions() {
    let mut sent = hello_of(TLS12, &[0], &[]);
    sent.truncate(sent.len() - 2);
    sent[4] -= 2;
    sent[8] -= 2;
    let hello = complete(&sent);
    assert_eq!((hello.versions, hello.suites), (vec![TLS12], vec![0x1301, 0x0a0a]));
    assert!(is_grease(0x0a0a) && !is_grease(0x1301));
}

#[test]
fn compression_is_refused_where_null_is_not_offered() {
    let tls13 = [extension(43, &TLS13_OFFERED)];
    assert!(matches!(error(&hello_of(TLS12, &[1, 0], &tls13)), HelloError::Illegal(_)));
    assert!(matches!(error(&hello_of(TLS12, &[1], &[])), HelloError::Illegal(_)));
    complete(&hello_of(TLS12, &[1, 0], &[]));
}

#[test]
fn server_names_against_rfc_6066_are_refused() {
    assert_eq!(
        complete(&with_name(b"A.b-c.Example")).server_name.as_deref(),
        Some("a.b-c.example")
    );
    let bad: [&[u8]; 8] =
        [b"example.", b"10.0.0.1", b"::1", b"[::1]", b"", b"a b", b"\xff\xfe", b"a..b"];
    for name in bad {
        assert!(matches!(error(&with_name(name)), HelloError::Illegal(_)), "{name:?}");
    }
    let name = [&[0][..], &vector16(b"a.example")].concat();
    let twice = with_extensions(&[extension(0, &vector16(&[&name[..], &name].concat()))]);
    assert!(matches!(error(&twice), HelloError::Illegal(_)));
    let other = [&[9][..], &vector16(b"\0\0"), &name].concat();
    let skipped = complete(&with_extensions(&[extension(0, &vector16(&other))]));
    assert_eq!(skipped.server_name.as_deref(), Some("a.example"));
    assert_eq!(error(&with_extensions(&[extension(0, &[0, 0])])).alert(), Some(50));
}

#[test]
fn extensions_against_the_standard_are_refused() {
    let ticket = extension(35, &[]);
    let psk = extension(41, &[1]);
    let modes = extension(45, &[1, 1]);
    let illegal = [
        vec![ticket.clone(), ticket.clone()],
        vec![modes.clone(), psk.clone(), ticket.clone()],
        vec![extension(51, &vector16(&[0, 29, 0, 1, 5, 0, 29, 0, 1, 6]))],
    ];
    for extensions in illegal {
        assert!(matches!(error(&with_extensions(&extensions)), HelloError::Illegal(_)));
    }
    let lone = with_extensions(std::slice::from_ref(&psk));
    assert!(matches!(error(&lone), HelloError::MissingExtension(_)));
    let malformed = [
        extension(16, &[0, 1, 0]),
        extension(16, &[0, 0]),
        extension(10, &[0, 3, 0, 29, 0]),
        extension(13, &[0, 0]),
        extension(43, &[2, 3, 4, 9]),
        extension(42, &[0]),
        extension(51, &vector16(&[0, 29, 0, 0])),
    ];
    for extension in malformed {
        let sent = with_extensions(std::slice::from_ref(&extension));
        assert!(matches!(error(&sent), HelloError::Malformed(_)), "{extension:?}");
    }
    let sound = [extension(42, &[]), extension(35, &[1]), modes, psk];
    let hello = complete(&with_extensions(&sound));
    assert!(hello.has_early_data && hello.has_session_ticket && hello.has_pre_shared_key);
}

#[test]
fn lists_are_bounded() {
    let bounded = |count, make: &dyn Fn(u16) -> Vec<Vec<u8>>| {
        parse(&with_extensions(&(0..count).flat_map(make).collect::<Vec<_>>()))
    };
    let many = |kind| vec![extension(0x4000 + kind, &[])];
    assert!(bounded(HELLO_EXTENSIONS_MAX as u16, &many).is_ok());
    assert!(bounded(HELLO_EXTENSIONS_MAX as u16 + 1, &many).is_err());
    let names = |count: usize| extension(16, &vector16(&[1, b'x'].repeat(count)));
    assert!(parse(&with_extensions(&[names(HELLO_PROTOCOLS_MAX)])).is_ok());
    assert!(parse(&with_extensions(&[names(HELLO_PROTOCOLS_MAX + 1)])).is_err());
    let shares = |count: u16| {
        let entries = (0..count).flat_map(|group| [group.to_be_bytes(), [0, 1]].concat());
        let entries: Vec<u8> = entries.collect();
        let list: Vec<u8> = entries.chunks(4).flat_map(|entry| [entry, &[7]].concat()).collect();
        parse(&with_extensions(&[extension(51, &vector16(&list))]))
    };
    assert!(shares(HELLO_KEY_SHARES_MAX as u16).is_ok());
    assert!(shares(HELLO_KEY_SHARES_MAX as u16 + 1).is_err());
}

#[test]
fn an_error_says_what_was_found_and_has_its_alert() {
    let text = HelloError::UnsupportedVersion(0x0301).to_string();
    assert!(text.contains("TLS 1.0") && text.contains("TLS 1.2"), "{text}");
    assert_eq!(HelloError::UnsupportedVersion(0x0301).alert(), Some(70));
    assert_eq!(HelloError::PlainHttp.alert(), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parse(&bytes);
        let _ = parse(&[&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], &bytes[..]].concat());
    }

    #[test]
    fn no_change_of_a_sound_hello_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        size in 1_usize..600,
    ) {
        let mut bytes = rustls_hello("a.example", &[b"h2"]);
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let _ = parse(&bytes);
        let _ = parse(&fragmented(&bytes, size));
    }

    /// So a caller may buffer as long as it is asked to.
    #[test]
    fn more_is_never_asked_for_beyond_the_bound(size in 1_usize..16_384, length in 0_u16..17_000) {
        let [high, low] = length.to_be_bytes();
        let message = [&[1, 0, high, low][..], &[0; 17_000]].concat();
        let mut sent: Vec<u8> = message.chunks(size).flat_map(record_of).collect();
        sent.truncate(CLIENT_HELLO_BYTES_MAX);
        prop_assert_ne!(parse(&sent), Ok(Progress::NeedMore));
    }
}

#[test]
fn a_session_is_offered_by_a_ticket_a_key_or_an_identifier_of_tls_1_2() {
    let tls13 = extension(43, &TLS13_OFFERED);
    let offers = |extensions: &[Vec<u8>]| complete(&with_extensions(extensions)).offers_session();
    assert!(!offers(&[]) && !offers(&[tls13.clone(), extension(35, &[])]));
    assert!(offers(&[extension(35, &[1])]));
    assert!(offers(&[tls13.clone(), extension(45, &[1, 1]), extension(41, &[1])]));
    let with_identifier = |versions| {
        ClientHello { session_id_len: 32, versions, ..ClientHello::default() }.offers_session()
    };
    assert!(with_identifier(vec![TLS12]));
    assert!(!with_identifier(vec![TLS13, TLS12]), "made up for middleboxes");
}
