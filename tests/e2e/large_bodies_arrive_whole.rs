//! Bodies of a gigabyte arrive whole, in both directions and framings, and nobody holds them.

use std::io::Write;
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{Context, SHA256};

use crate::harness::http::request;
use crate::harness::origin::Origin;
use crate::harness::programs::{bounded, url};
use crate::harness::site::scripted;
use crate::harness::{Gateway, HttpClient, Setup, pki};

/// The size of the bodies that are said to arrive.
const BODY_BYTES: u64 = 1 << 30;
/// Of those in other framings, which take more work of the two ends.
const SMALLER_BYTES: u64 = 128 << 20;
const PIECE_BYTES: usize = 256 * 1024;

/// What no compression and no repetition hides: each piece tells its place.
fn piece(number: u64) -> Vec<u8> {
    let mut piece = pattern().to_vec();
    piece[..8].copy_from_slice(&number.to_be_bytes());
    piece
}

fn pattern() -> &'static [u8] {
    static PATTERN: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut state = 0x9e37_79b9_u32;
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        };
        std::iter::repeat_with(next).take(PIECE_BYTES).collect()
    })
}

fn sha256_of(bytes: u64) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for number in 0..bytes / PIECE_BYTES as u64 {
        context.update(&piece(number));
    }
    context.finish().as_ref().to_vec()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a body of `/<bytes>`, chunked where the target ends so; answers a body by its SHA-256.
fn origin() -> Origin {
    scripted(|wire| {
        while let Some(head) = wire.head()? {
            if head.method() == "GET" {
                let (bytes, is_chunked) = match head.target()[1..].strip_suffix("-chunked") {
                    Some(bytes) => (bytes.to_string(), true),
                    None => (head.target()[1..].to_string(), false),
                };
                let bytes: u64 = bytes.parse().expect("a number");
                let framing = match is_chunked {
                    true => "Transfer-Encoding: chunked".to_string(),
                    false => format!("Content-Length: {bytes}"),
                };
                wire.try_send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))?;
                for number in 0..bytes / PIECE_BYTES as u64 {
                    if is_chunked {
                        wire.try_send(format!("{PIECE_BYTES:x}\r\n"))?;
                    }
                    wire.try_send(piece(number))?;
                    if is_chunked {
                        wire.try_send("\r\n")?;
                    }
                }
                if is_chunked {
                    wire.try_send("0\r\n\r\n")?;
                }
                continue;
            }
            let mut context = Context::new(&SHA256);
            let length = head.value("content-length").map(|it| it.parse().expect("a number"));
            if let Some(mut left) = length {
                while left > 0 {
                    let piece = wire.piece(left)?;
                    assert!(!piece.is_empty(), "the body ends before its length");
                    left -= piece.len() as u64;
                    context.update(&piece);
                }
            } else {
                while let Some(chunk) = wire.chunk()? {
                    context.update(&chunk);
                }
            }
            let digest = hex(context.finish().as_ref());
            wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{digest}"))?;
        }
        Ok(())
    })
}

fn start(origin: &Origin) -> Gateway {
    Setup::http(origin.address()).start()
}

#[test]
fn a_gigabyte_comes_down_by_hash() {
    let origin = origin();
    let gateway = start(&origin);
    let before = gateway.process().resident_kib();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", &format!("/{BODY_BYTES}"), ""));
    let head = client.head().expect("a response").expect("a response");
    assert_eq!(head.value("content-length"), Some(&*BODY_BYTES.to_string()));
    let (mut context, mut left) = (Context::new(&SHA256), BODY_BYTES);
    while left > 0 {
        let piece = client.piece(left).expect("the body");
        left -= piece.len() as u64;
        context.update(&piece);
    }
    assert_eq!(context.finish().as_ref(), sha256_of(BODY_BYTES));
    let grown = gateway.process().resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB for one body");
    drop(client);
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("bytes_down"), BODY_BYTES);
    stopped.assert_clean();
}

#[test]
fn a_gigabyte_goes_up_by_hash() {
    let origin = origin();
    let gateway = start(&origin);
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("PUT", "/", &format!("Content-Length: {BODY_BYTES}\r\n")));
    for number in 0..BODY_BYTES / PIECE_BYTES as u64 {
        client.stream.write_all(&piece(number)).expect("the gateway takes bytes");
    }
    assert_eq!(client.answer("PUT").text(), hex(&sha256_of(BODY_BYTES)));
    drop(client);
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("bytes_up"), BODY_BYTES);
    stopped.assert_clean();
}

#[test]
fn chunks_go_up_and_come_down_by_hash() {
    let origin = origin();
    let gateway = start(&origin);
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n"));
    for number in 0..SMALLER_BYTES / PIECE_BYTES as u64 {
        client.send([format!("{PIECE_BYTES:x}\r\n").as_bytes(), &piece(number), b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    let expected = sha256_of(SMALLER_BYTES);
    assert_eq!(client.answer("POST").text(), hex(&expected));
    client.send(request("GET", &format!("/{SMALLER_BYTES}-chunked"), ""));
    let head = client.head().expect("a response").expect("a response");
    assert_eq!(head.value("transfer-encoding"), Some("chunked"));
    let mut context = Context::new(&SHA256);
    while let Some(chunk) = client.chunk().expect("the body") {
        context.update(&chunk);
    }
    assert_eq!(context.finish().as_ref(), expected);
    assert_eq!(origin.accepted(), 1, "one connection for both");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn curl_carries_a_body_up_and_another_down() {
    let origin = origin();
    let gateway = start(&origin);
    let file = crate::harness::temp_dir().join("body");
    let mut out = std::fs::File::create(&file).expect("a temporary file");
    for number in 0..SMALLER_BYTES / PIECE_BYTES as u64 {
        out.write_all(&piece(number)).expect("room on the disk");
    }
    let expected = hex(&sha256_of(SMALLER_BYTES));
    let address = gateway.address();
    let common = |command: &mut Command| {
        command.args(["--silent", "--show-error", "--noproxy", "*", "--http1.1"]);
        command.arg("--cacert").arg(&pki().root_file);
        command.arg("--cert").arg(&pki().client.chain_file);
        command.arg("--key").arg(&pki().client.key_file);
        command.args(["--resolve", &format!("gateway.test:{}:127.0.0.1", address.port())]);
    };
    let mut command = bounded("curl");
    common(&mut command);
    command.arg("--upload-file").arg(&file).arg(url(address, "/"));
    let said = crate::harness::programs::content(&mut command);
    assert_eq!(said, expected, "up");
    let mut command = bounded("curl");
    common(&mut command);
    let mut curl = command
        .arg(url(address, &format!("/{SMALLER_BYTES}")))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut down = curl.stdout.take().expect("piped");
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; PIECE_BYTES]);
    loop {
        match std::io::Read::read(&mut down, &mut buffer).expect("a readable pipe") {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    assert!(curl.wait().expect("our child").success());
    assert_eq!(hex(context.finish().as_ref()), expected, "down");
    std::fs::remove_file(&file).expect("ours");
    gateway.terminate().assert_clean();
}
