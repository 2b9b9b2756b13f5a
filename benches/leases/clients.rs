//! The clients: groups that hold connections, and the prober.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use ringfort::control::load::raise_fd_limit;
use ringfort::sys::cpu;
use ringfort::tls::provider::{Backend, provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::origin::{MESSAGE_BYTES, PROBE};
use super::pki::GROUPS;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Does what the lines of its input say, until that ends.
pub fn run(gateway: SocketAddr, folder: &str) {
    raise_fd_limit();
    assert!(cpu::pin(*cpu::allowed().last().expect("a CPU")));
    let mut groups: Vec<Vec<Tls>> = (0..=GROUPS).map(|_| Vec::new()).collect();
    let probed: Arc<Probed> = Arc::default();
    for line in std::io::stdin().lines() {
        let line = line.expect("a pipe");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<usize>().expect("a number");
        match words[0] {
            "open" => {
                let config = config(Path::new(folder), number(1));
                groups[number(1)] = (0..number(2)).map(|_| connect(gateway, &config)).collect();
                println!("done");
            }
            "probe" => {
                let mut tls = connect(gateway, &config(Path::new(folder), GROUPS));
                let probed = Arc::clone(&probed);
                thread::spawn(move || while let Some(()) = probe(&mut tls, &probed) {});
                println!("done");
            }
            "worst" => println!("{}", probed.take()),
            "watch" => {
                let group = std::mem::take(&mut groups[number(1)]);
                thread::spawn(move || {
                    group.into_iter().for_each(until_gone);
                    println!("gone");
                });
            }
            "alive" => println!("{}", groups[number(1)].iter().filter(|tls| is_alive(tls)).count()),
            other => panic!("{other:?} is nothing to do"),
        }
    }
}

/// What the prober saw since it was asked last.
#[derive(Default)]
struct Probed {
    worst_ns: AtomicU64,
    count: AtomicU64,
}

impl Probed {
    fn take(&self) -> String {
        let worst = self.worst_ns.swap(0, Ordering::Relaxed);
        let count = self.count.swap(0, Ordering::Relaxed);
        format!("worst {:.2} ms of {count}", worst as f64 / 1e6)
    }
}

fn probe(tls: &mut Tls, probed: &Probed) -> Option<()> {
    let mut message = [PROBE; MESSAGE_BYTES];
    let sent = Instant::now();
    tls.write_all(&message).ok()?;
    tls.read_exact(&mut message).ok()?;
    let time_ns = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
    probed.worst_ns.fetch_max(time_ns, Ordering::Relaxed);
    probed.count.fetch_add(1, Ordering::Relaxed);
    Some(())
}

/// Returns when the gateway has ended the connection, in whichever way.
fn until_gone(mut tls: Tls) {
    let mut byte = [0; 1];
    let ended = tls.read(&mut byte);
    assert!(!matches!(ended, Ok(1..)), "nobody has sent it anything");
}

fn is_alive(tls: &Tls) -> bool {
    tls.sock.set_nonblocking(true).expect("an option");
    let peeked = tls.sock.peek(&mut [0; 1]);
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn config(folder: &Path, group: usize) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(folder.join("root.pem")).expect("a certificate");
    roots.add(root).expect("a root");
    let chain = CertificateDer::pem_file_iter(folder.join(format!("client-{group}.pem")));
    let chain = chain.expect("a file").collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("client-{group}.key")));
    let mut config = ClientConfig::builder_with_provider(Arc::new(
        provider(Backend::ALL[0], &[], &[]).expect("all that there is"),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .expect("TLS 1.3")
    .with_root_certificates(roots)
    .with_client_auth_cert(chain, key.expect("a key"))
    .expect("a certificate and its key");
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

fn connect(gateway: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let socket = TcpStream::connect(gateway).expect("a listener");
    socket.set_nodelay(true).expect("an option");
    let mut tls = StreamOwned::new(client, socket);
    let mut message = [b'm'; MESSAGE_BYTES];
    tls.write_all(&message).expect("the gateway reads");
    tls.read_exact(&mut message).expect("it comes back");
    tls
}
