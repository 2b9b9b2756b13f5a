//! Handshakes with upstreams that are real servers: `openssl s_server`, nginx, Python's ssl.
//!
//! openssl must be there, and python3 and nginx: `scripts/test` sees to it.

use std::fs;
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringfort::CloseKind;
use ringfort::cli::pki::{Authority, Issued, Profile, Validity};
use ringfort::tls::client::{CertificateFault, UpstreamFault, UpstreamTls, UpstreamTlsOptions};
use ringfort::tls::session::Agreed;
use ringfort::tls::transport::{TransportError, UpstreamTlsError, connect, recycle};
use rustls::{AlertDescription, ProtocolVersion};

use crate::kit::World;
use crate::peers::{authority, issued, names, options, presenting, profile};

/// What came back, and how it ended.
type Answer = (String, Option<TransportError>);

/// Shakes hands and sends a request.
fn ask(address: SocketAddr, tls: &UpstreamTls) -> Result<(Agreed, Answer), UpstreamTlsError> {
    let world = World::new();
    let (core, tls) = (world.core.clone(), tls.clone());
    let outcome = world.complete(async move {
        let stream = core.connect(address.into(), None).await.expect("a listener");
        let (mut transport, agreed) = connect(stream, &tls).await?;
        transport.write(b"GET / HTTP/1.0\r\n\r\n").expect("keys");
        transport.flush();
        let mut all = Vec::new();
        let error = loop {
            match poll_fn(|cx| transport.poll_read(&core, cx)).await {
                Ok(Some(chunk)) => {
                    all.extend_from_slice(&chunk);
                    recycle(&core, chunk);
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        transport.close();
        Ok((agreed, (String::from_utf8_lossy(&all).into_owned(), error)))
    });
    world.settle();
    outcome
}

fn made(options: UpstreamTlsOptions) -> UpstreamTls {
    UpstreamTls::new(options).expect("a configuration")
}

/// A folder of PEM files.
struct Folder(PathBuf);

impl Folder {
    fn new(authority: &Authority, server: &Issued) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfort-upstream-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).expect("a folder");
        folder.write("ca.pem", &authority.chain_pem());
        folder.write("server.pem", &server.chain_pem());
        folder.write("server.key", &server.key_pem());
        folder
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).expect("a file");
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server as a process, which is ended with this.
struct Server {
    address: SocketAddr,
    child: Child,
    _out: Option<BufReader<ChildStdout>>,
    _folder: Folder,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program that prints a line which ends in its port.
fn start(mut command: Command, folder: Folder, before_port: &str) -> Server {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program is installed");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let port = loop {
        let mut line = String::new();
        assert!(out.read_line(&mut line).expect("text") > 0, "it ended");
        if let Some(port) = line.trim().strip_prefix(before_port) {
            break port.parse::<u16>().expect("a port");
        }
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Server { address, child, _out: Some(out), _folder: folder }
}

/// `openssl s_server`, which answers with a page about its session.
fn openssl(authority: &Authority, server: &Issued, more: &[&str]) -> Server {
    let folder = Folder::new(authority, server);
    let mut command = Command::new("openssl");
    command.args(["s_server", "-www", "-accept", "127.0.0.1:0", "-cert"]);
    command.args([folder.path("server.pem"), "-key".into(), folder.path("server.key")]);
    command.args(["-CAfile".into(), folder.path("ca.pem")]).args(more);
    start(command, folder, "ACCEPT 127.0.0.1:")
}

const PYTHON: &str = r#"
import json, socket, ssl, sys
folder, demands, alpn = sys.argv[1], sys.argv[2] == "demand", sys.argv[3:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/server.pem", folder + "/server.key")
if alpn:
    context.set_alpn_protocols(alpn)
if demands:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder + "/ca.pem")
listener = socket.create_server(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
while True:
    raw = listener.accept()[0]
    try:
        with context.wrap_socket(raw, server_side=True) as peer:
            peer.recv(1000)
            told = {"version": peer.version(), "reused": peer.session_reused,
                    "alpn": peer.selected_alpn_protocol(),
                    "cert": bool(peer.getpeercert())}
            peer.sendall(json.dumps(told).encode())
            peer.unwrap()
    except OSError as error:
        pass
"#;

fn python(authority: &Authority, server: &Issued, more: &[&str]) -> Server {
    let folder = Folder::new(authority, server);
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]).arg(&folder.0).args(more);
    start(command, folder, "PORT ")
}

/// nginx in the foreground, which demands certificates.
fn nginx(authority: &Authority, server: &Issued) -> Server {
    let folder = Folder::new(authority, server);
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let at = folder.0.display();
    let body = "$ssl_client_verify $ssl_session_reused $ssl_protocol $ssl_server_name";
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
         events {{ }}
         http {{ access_log off; client_body_temp_path {at}/1; proxy_temp_path {at}/2;
           fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
           server {{ listen {address} ssl http2; ssl_certificate {at}/server.pem;
             ssl_certificate_key {at}/server.key; ssl_client_certificate {at}/ca.pem;
             ssl_verify_client on; ssl_session_cache builtin;
             ssl_protocols TLSv1.2 TLSv1.3;
             return 200 \"{body}\"; }} }}"
    );
    let file = folder.write("nginx.conf", &text);
    let mut command = Command::new("nginx");
    command.args(["-c", &file, "-p"]).arg(&folder.0).args(["-e", &folder.path("error.log")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("nginx is installed, and in PATH");
    let server = Server { address, child, _out: None, _folder: folder };
    for _ in 0..200 {
        if TcpStream::connect(address).is_ok() {
            return server;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("nginx does not listen: {:?}", fs::read_to_string(server._folder.path("error.log")));
}

#[track_caller]
fn assert_refused(outcome: Result<(Agreed, Answer), UpstreamTlsError>, fault: CertificateFault) {
    let error = outcome.expect_err("its certificate is refused");
    assert_eq!(error.kind(), CloseKind::UpstreamCertificateRefused);
    let UpstreamTlsError::Tls(UpstreamFault::CertificateRefused(found, text)) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*found, fault, "{text}");
    assert!(error.to_string().contains(&format!("({})", fault.as_str())) && !text.is_empty());
}

#[test]
fn a_server_with_the_right_name_is_spoken_to_in_either_version() {
    let authority = authority();
    let server = issued(&authority, "up.test");
    for (option, version) in
        [("-tls1_3", ProtocolVersion::TLSv1_3), ("-tls1_2", ProtocolVersion::TLSv1_2)]
    {
        let process = openssl(&authority, &server, &[option, "-alpn", "h2,http/1.1"]);
        let (agreed, (page, error)) =
            ask(process.address, &made(options(&authority))).expect("a handshake");
        assert_eq!(agreed.version, version);
        assert_eq!(agreed.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert!(page.starts_with("HTTP/1.0 200 ok"), "{page} {error:?}");
        let http2 = UpstreamTlsOptions { http2: true, ..options(&authority) };
        let (agreed, _) = ask(process.address, &made(http2)).expect("a handshake");
        assert_eq!(agreed.alpn.as_deref(), Some(&b"h2"[..]));
    }
}

#[test]
fn each_bad_certificate_is_refused_with_its_fault() {
    let authority = authority();
    let tls = || made(options(&authority));
    let other = issued(&authority, "other.test");
    let process = openssl(&authority, &other, &[]);
    assert_refused(ask(process.address, &tls()), CertificateFault::NameMismatch);
    let strange = Authority::root(&profile("strange")).expect("a root");
    let process = openssl(&strange, &issued(&strange, "up.test"), &[]);
    assert_refused(ask(process.address, &tls()), CertificateFault::UnknownIssuer);
    let namesake = crate::peers::authority();
    let process = openssl(&namesake, &issued(&namesake, "up.test"), &[]);
    assert_refused(ask(process.address, &tls()), CertificateFault::BadSignature);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    let day = 86_400;
    for (from, until, fault) in [
        (now - 2 * day, now - day, CertificateFault::Expired),
        (now + day, now + 2 * day, CertificateFault::NotYetValid),
    ] {
        let validity = Validity::between(from, until).expect("on the calendar");
        let profile = Profile { validity, ..profile("server") };
        let issued = authority.issue_server(&profile, &names("up.test")).expect("a server");
        let process = openssl(&authority, &issued, &[]);
        assert_refused(ask(process.address, &tls()), fault);
    }
    let client = authority.issue_client(&profile("c"), &names("up.test")).expect("a client");
    let process = openssl(&authority, &client, &[]);
    assert_refused(ask(process.address, &tls()), CertificateFault::Purpose);
}

#[test]
fn a_certificate_is_presented_where_it_is_demanded() {
    let authority = authority();
    let server = issued(&authority, "up.test");
    let own = authority.issue_client(&profile("gateway"), &names("gw.test")).expect("a client");
    let with = UpstreamTlsOptions { certificate: presenting(&own), ..options(&authority) };
    let (with, without) = (made(with), made(options(&authority)));
    let process = python(&authority, &server, &["demand"]);
    let (_, (told, error)) = ask(process.address, &with).expect("a handshake");
    assert!(told.contains("\"cert\": true"), "{told} {error:?}");
    // TLS 1.3: the handshake is complete for the client before the server has seen its flight.
    let (_, (told, error)) = ask(process.address, &without).expect("a handshake");
    let Some(TransportError::Tls(error)) = error else { panic!("{told} {error:?}") };
    let required = UpstreamFault::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(UpstreamFault::of(&error), required);
    assert_eq!(required.to_string(), "the upstream sent the alert certificate_required (116)");
    // TLS 1.2: it ends the handshake.
    let process = openssl(&authority, &server, &["-tls1_2", "-Verify", "1"]);
    let error = ask(process.address, &without).expect_err("it is demanded");
    assert_eq!(error.kind(), CloseKind::UpstreamTlsFailed);
    let failure = UpstreamFault::AlertReceived(AlertDescription::HandshakeFailure);
    assert_eq!(error, UpstreamTlsError::Tls(failure));
    let (_, (page, error)) = ask(process.address, &with).expect("a handshake");
    assert!(page.contains("Subject: CN=gateway"), "{page} {error:?}");
}

#[test]
fn nginx_verifies_us_and_resumes_our_sessions() {
    let authority = authority();
    let server = issued(&authority, "up.test");
    let process = nginx(&authority, &server);
    let own = authority.issue_client(&profile("gateway"), &names("gw.test")).expect("a client");
    let with = || UpstreamTlsOptions { certificate: presenting(&own), ..options(&authority) };
    let tls = made(with());
    for (resumed, mark) in [(false, "."), (true, "r"), (true, "r")] {
        let (agreed, (page, error)) = ask(process.address, &tls).expect("a handshake");
        assert_eq!(agreed.resumed, resumed);
        let told = format!("SUCCESS {mark} TLSv1.3 up.test");
        assert!(page.ends_with(&told), "{page} {error:?}");
    }
    let (_, (page, _)) = ask(process.address, &made(options(&authority))).expect("a handshake");
    assert!(page.contains("400 No required SSL certificate was sent"), "{page}");
    let (agreed, _) =
        ask(process.address, &made(UpstreamTlsOptions { http2: true, ..with() })).expect("h2");
    assert_eq!(agreed.alpn.as_deref(), Some(&b"h2"[..]));
}

#[test]
fn sessions_are_resumed_as_the_server_sees_it() {
    let authority = authority();
    let server = issued(&authority, "up.test");
    for option in ["-tls1_3", "-tls1_2"] {
        let process = openssl(&authority, &server, &[option]);
        let tls = made(options(&authority));
        for (resumed, told) in [(false, "New, TLSv1."), (true, "Reused, TLSv1.")] {
            let (agreed, (page, error)) = ask(process.address, &tls).expect("a handshake");
            assert_eq!(agreed.resumed, resumed, "{option}");
            assert!(page.contains(told), "{page} {error:?}");
        }
        let (agreed, _) = ask(process.address, &made(options(&authority))).expect("a handshake");
        assert!(!agreed.resumed, "another configuration has sessions of its own");
    }
}

#[test]
fn no_session_is_resumed_an_hour_after_its_certificate_was_verified() {
    #[derive(Debug)]
    struct Clock(std::sync::Mutex<u64>);
    impl rustls::time_provider::TimeProvider for Clock {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            let now = *self.0.lock().expect("nobody panics with it");
            Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now)))
        }
    }
    let authority = authority();
    let server = issued(&authority, "up.test");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let clock = std::sync::Arc::new(Clock(std::sync::Mutex::new(now)));
    let tls = made(UpstreamTlsOptions { time: Some(clock.clone()), ..options(&authority) });
    for option in ["-tls1_3", "-tls1_2"] {
        let process = openssl(&authority, &server, &[option]);
        let resumed = |at: u64| {
            *clock.0.lock().expect("nobody panics with it") = at;
            ask(process.address, &tls).expect("a handshake").0.resumed
        };
        // Resuming does not make it longer.
        let base = if option == "-tls1_3" { now } else { now + 100_000 };
        let seen = [0, 1800, 3500, 3601, 3602].map(|after| resumed(base + after));
        assert_eq!(seen, [false, true, true, false, true], "{option}");
    }
}

#[test]
fn a_server_without_alpn_speaks_http1_and_not_http2() {
    let authority = authority();
    let process = python(&authority, &issued(&authority, "up.test"), &["any"]);
    let (agreed, (told, error)) =
        ask(process.address, &made(options(&authority))).expect("a handshake");
    assert_eq!(agreed.alpn, None);
    assert!(told.contains("\"alpn\": null") && error.is_none(), "{told} {error:?}");
    let http2 = made(UpstreamTlsOptions { http2: true, ..options(&authority) });
    let error = ask(process.address, &http2).expect_err("it cannot");
    assert_eq!(error, UpstreamTlsError::Tls(UpstreamFault::Protocol));
    assert_eq!(error.kind(), CloseKind::UpstreamTlsFailed);
}

#[test]
fn what_is_no_tls_or_ends_is_told_apart() {
    let authority = authority();
    let tls = made(options(&authority));
    let serve = |answer: &'static [u8], reset: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let thread = thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let _ = socket.read(&mut [0; 4096]).expect("a ClientHello");
            socket.write_all(answer).expect("it is open");
            if reset {
                socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("it");
            }
        });
        let error = ask(address, &tls).expect_err("no handshake");
        thread.join().expect("it was there");
        error
    };
    let plain = serve(b"HTTP/1.1 400 Bad Request\r\n\r\n", false);
    assert!(matches!(&plain, UpstreamTlsError::Tls(UpstreamFault::Tls(_))), "{plain:?}");
    assert_eq!(plain.kind(), CloseKind::UpstreamTlsFailed);
    let ended = serve(b"", false);
    assert_eq!((&ended, ended.kind()), (&UpstreamTlsError::Eof, CloseKind::UpstreamTlsFailed));
    assert_eq!(serve(b"", true).kind(), CloseKind::Reset);
    let alert = serve(&[21, 3, 3, 0, 2, 2, 112], false);
    let unrecognised = UpstreamFault::AlertReceived(AlertDescription::UnrecognisedName);
    assert_eq!(alert, UpstreamTlsError::Tls(unrecognised));
}
