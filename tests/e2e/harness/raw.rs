//! Clients that do not speak TLS as they should: bytes as they are, and a relay in the middle.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::PATIENCE;
use super::client::ClientOptions;

/// Connects over TCP, with deadlines.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// The ClientHello of the usual client, as it is on the wire.
pub(crate) fn client_hello() -> Vec<u8> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut client = ClientOptions::default().open(address).expect("our own listener");
    let mut bytes = Vec::new();
    client.tls.write_tls(&mut bytes).expect("into memory");
    bytes
}

/// Whether the peer has reset or ended the connection; reads what is left.
pub(crate) fn read_until_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// A relay between a client and the gateway, which may change what the client sends.
///
/// `change` sees each TLS record of the client with its number and returns what goes on; `None`
/// ends the connection there.
pub(crate) fn relay_records(
    to: SocketAddr,
    change: impl Fn(usize, Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let Ok((client, _)) = listener.accept() else { return };
        let gateway = connect(to);
        let (mut back, mut front) =
            (gateway.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
        let down = thread::spawn(move || {
            // Whoever ends it, the test sees how.
            let _ = std::io::copy(&mut back, &mut front);
            let _ = front.shutdown(Shutdown::Write);
        });
        let mut number = 0;
        while let Some(record) = read_record(&client) {
            let Some(changed) = change(number, record) else { break };
            if (&gateway).write_all(&changed).is_err() {
                break;
            }
            number += 1;
        }
        let _ = gateway.shutdown(Shutdown::Write);
        let _ = down.join();
    });
    address
}

fn read_record(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    stream.read_exact(&mut body).ok()?;
    Some([&header[..], &body].concat())
}
