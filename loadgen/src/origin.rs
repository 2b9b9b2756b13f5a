//! A plain TCP service behind the gateway that is measured, as cheap as the runtime makes it.
//!
//! It serves until it is ended. One worker; what it says is always the same.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringfort::limits::RECV_BUFFERS_DEFAULT;
use ringfort::metrics::counter::WorkerCounters;
use ringfort::rt::core::{Core, CoreOptions};
use ringfort::rt::driver::Driver;
use ringfort::rt::inbox::{Inbox, mailbox};
use ringfort::rt::stream::{Errno, Stream};
use ringfort::rt::timer::TICK;
use ringfort::rt::uring::Uring;
use ringfort::sys::cpu;
use ringfort::sys::ring::{RingOptions, SetupError};
use ringfort::sys::sockopt::{SocketOptions, listen};
use ringfort::tls::transport::Transport;

use self::http1::Ready;
use self::http2::PREFACE;
use crate::limits::ORIGIN_BODY_BYTES_MAX;

pub mod http1;
pub mod http2;
pub mod target;

/// `origin`.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// Address to listen on: "127.0.0.1:9000"; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// What it does with a connection
    #[arg(long, value_enum, default_value_t = Service::Echo)]
    pub serve: Service,
    /// Bytes of a response's body, with http, where the path does not say how many
    #[arg(long, value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=ORIGIN_BODY_BYTES_MAX))]
    pub body_bytes: u64,
    /// CPU to pin it to
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
}

/// What the origin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Sends back what comes (RFC 862).
    Echo,
    /// Sends without end (RFC 864).
    Chargen,
    /// Takes what comes (RFC 863).
    Discard,
    /// Answers requests of HTTP/1.1 and, with prior knowledge, HTTP/2: /bytes/N with so many
    /// bytes, /echo with what was sent, all else with --body-bytes.
    Http,
}

/// Why it does not serve.
#[derive(Debug)]
pub enum OriginError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The CPU cannot be pinned to.
    Pin(usize),
    /// io_uring cannot be used.
    Ring(SetupError),
    /// The driver failed.
    Io(io::Error),
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => {
                write!(f, "--listen: {address} cannot be listened on: {error}")
            }
            Self::Pin(cpu) => write!(f, "--cpu: it cannot be pinned to CPU {cpu}"),
            Self::Ring(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the ring failed: {error}"),
        }
    }
}

/// Serves until `ended`; tells `ready` the address.
///
/// # Errors
/// [`OriginError`].
pub fn run(
    args: &OriginArgs,
    ready: impl FnOnce(SocketAddr),
    ended: &AtomicBool,
) -> Result<(), OriginError> {
    if let Some(cpu) = args.cpu
        && !cpu::pin(cpu)
    {
        return Err(OriginError::Pin(cpu));
    }
    let listen_error = |error| OriginError::Listen(args.listen, error);
    let socket = listen(args.listen, &OPTIONS).map_err(listen_error)?;
    let address = local_address(&socket).map_err(listen_error)?;
    let uring = Uring::new(&RingOptions {
        entries: ringfort::limits::RING_ENTRIES_DEFAULT,
        recv_buffers: RECV_BUFFERS_DEFAULT,
        sqpoll_idle_ms: 0,
        napi_busy_poll_us: 0,
        zero_copy_send: false,
    })
    .map_err(OriginError::Ring)?;
    let (inbox, _outbox): (Inbox<()>, _) = mailbox(uring.descriptor().map_err(OriginError::Io)?);
    let options = CoreOptions { number: 0, zero_copy_send: false, tick: TICK };
    let core = Core::new(Driver::Uring(uring), &options, WorkerCounters::new());
    core.spawn(accept(core.clone(), socket, args.serve, args.body_bytes));
    core.spawn(wake_again(core.clone()));
    ready(address);
    core.run(&inbox, |()| {}, || ended.load(Ordering::Relaxed)).map_err(OriginError::Io)
}

const OPTIONS: SocketOptions = SocketOptions {
    dual_stack: false,
    backlog: 4096,
    keepalive: None,
    user_timeout: None,
    send_buffer_bytes: None,
    recv_buffer_bytes: None,
};

/// How often a sleeping origin looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

async fn wake_again(core: Core) {
    loop {
        core.sleep_until(core.now() + LOOK).await;
    }
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = socket2::SockRef::from(socket).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

async fn accept(core: Core, socket: OwnedFd, service: Service, body_bytes: u64) {
    let listener = core.listen(socket);
    let ready: Rc<Ready> = Rc::default();
    loop {
        let stream = poll_fn(|cx| listener.poll_accept(cx, true)).await;
        if service == Service::Http {
            core.spawn(http(core.clone(), stream, Rc::clone(&ready), body_bytes));
            continue;
        }
        core.spawn(async move {
            let served = match service {
                Service::Echo => echo(&stream).await,
                Service::Chargen => chargen(&stream).await,
                Service::Discard | Service::Http => discard(&stream).await,
            };
            // A peer that is gone needs no order; dropping resets.
            if served.is_ok() {
                stream.close();
            }
        });
    }
}

async fn echo(stream: &Stream) -> Result<(), Errno> {
    while let Some(bytes) = stream.recv().await? {
        poll_fn(|cx| stream.poll_writable(cx)).await?;
        stream.append(&bytes);
        stream.flush();
    }
    Ok(())
}

async fn discard(stream: &Stream) -> Result<(), Errno> {
    while stream.recv().await?.is_some() {}
    Ok(())
}

/// Sends until the peer ends or resets the connection.
async fn chargen(stream: &Stream) -> Result<(), Errno> {
    static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut receiving = std::pin::pin!(discard(stream));
    poll_fn(|cx| {
        if let std::task::Poll::Ready(ended) = receiving.as_mut().poll(cx) {
            return std::task::Poll::Ready(ended);
        }
        while stream.poll_writable(cx)?.is_ready() {
            stream.append(&PIECE);
            stream.flush();
        }
        std::task::Poll::Pending
    })
    .await
}

/// HTTP/1.1, or HTTP/2 where the connection begins as that does.
async fn http(core: Core, stream: Stream, ready: Rc<Ready>, body_bytes: u64) {
    let mut first: Vec<u8> = Vec::new();
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        match stream.recv().await {
            Ok(Some(bytes)) => first.extend_from_slice(&bytes),
            Ok(None) => return stream.close(),
            Err(_) => return,
        }
    }
    if first.starts_with(PREFACE) {
        let transport = Transport::Plain(stream);
        return http2::serve(&core, transport, first, body_bytes).await;
    }
    if http1::serve(&stream, first, &ready, body_bytes).await.is_ok() {
        stream.close();
    }
}

/// A flag that SIGINT and SIGTERM set.
///
/// # Errors
/// What sigaction(2) reports.
pub fn ended_by_signal() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
