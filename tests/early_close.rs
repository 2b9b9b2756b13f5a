//! A client that says all it has to say in one flight: Finished, a request, close_notify, FIN.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use ringfort::cli::pki::{Authority, KeyChoice, Names, Profile, Validity};
use ringfort::config::model;
use ringfort::control::load::load_model;
use ringfort::control::supervisor::Gateway;
use ringfort::error::CloseKind;
use ringfort::tls::provider::{Backend, provider};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// A gateway before `origin`, and the configuration of a client that may pass.
fn gateway(origin: &str) -> (Gateway, ClientConfig) {
    let folder = std::env::temp_dir().join(format!("ringfort-early-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let profile = |name: &str| Profile {
        common_name: name.into(),
        key: KeyChoice::P256,
        validity: Validity::days(SystemTime::now(), 30).expect("30 days"),
    };
    let names = Names { dns: vec!["localhost".into()], ..Names::default() };
    let root = Authority::root(&profile("root")).expect("a root");
    let server = root.issue_server(&profile("server"), &names).expect("a server");
    let client = root.issue_client(&profile("client"), &names).expect("a client");
    for (name, text) in [
        ("root.pem", root.chain_pem()),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("a temporary file");
    }
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let text = format!(
        "workers = 1\n[log]\ntarget = \"off\"\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"{origin}\"]\n\
         [[listener]]\nname = \"main\"\naddress = \"{address}\"\nupstream = \"origin\"\n\
         client_ca = \"root.pem\"\nallow = [\"any\"]\n\
         [[listener.certificate]]\nchain = \"server.pem\"\nkey = \"server.key\"\n"
    );
    let mut model = model::parse(&text, "early.toml").expect("a right configuration");
    model.folder.clone_from(&folder);
    let snapshot = load_model(&model).expect("right files").snapshot;
    std::fs::remove_dir_all(&folder).expect("our own folder");
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(
        provider(Backend::ALL[0], &[], &[]).expect("all that there is"),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .expect("TLS 1.3")
    .with_root_certificates(roots)
    .with_client_auth_cert(client.chain, client.key.into())
    .expect("a certificate and its key");
    (Gateway::start(snapshot).expect("it starts"), config)
}

#[test]
fn a_request_that_ends_with_the_handshake_has_its_answer() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (mut gateway, config) = gateway(&origin.local_addr().expect("an address").to_string());
    let origin = thread::spawn(move || {
        let (mut socket, _) = origin.accept().expect("the gateway");
        let mut request = Vec::new();
        socket.read_to_end(&mut request).expect("an orderly end, and no reset");
        assert_eq!(request, b"request");
        socket.write_all(b"answer").expect("the gateway reads");
    });
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut socket = TcpStream::connect(gateway.addresses()[0]).expect("a listener");
    let mut flight = Vec::new();
    while client.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut flight).expect("memory");
        }
        socket.write_all(&flight).expect("it reads");
        flight.clear();
        client.read_tls(&mut socket).expect("an answer");
        client.process_new_packets().expect("a good server");
    }
    client.writer().write_all(b"request").expect("room");
    client.send_close_notify();
    while client.wants_write() {
        client.write_tls(&mut flight).expect("memory");
    }
    socket.write_all(&flight).expect("it reads");
    socket.shutdown(Shutdown::Write).expect("it is open");
    while client.read_tls(&mut socket).expect("no reset") > 0 {
        client.process_new_packets().expect("no alert");
    }
    let mut answer = Vec::new();
    client.reader().read_to_end(&mut answer).expect("close_notify");
    assert_eq!(answer, b"answer");
    origin.join().expect("it had its request");
    gateway.cut_off(CloseKind::Stopped);
    assert!(gateway.join().is_empty());
}
