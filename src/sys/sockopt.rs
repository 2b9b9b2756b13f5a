//! Making sockets: listeners with their options, sockets for upstream connections.
//!
//! Options are set on the listener: what it accepts inherits them (tcp(7)), so that no
//! connection pays a system call for them.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// Options of a listener's connections. `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Whether an IPv6 wildcard takes IPv4 clients too.
    pub dual_stack: bool,
    /// Connections that wait to be accepted (listen(2)); the kernel caps it at `somaxconn`.
    pub backlog: u32,
    /// Idle time before keep-alive probes are sent.
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`, tcp(7)).
    pub user_timeout: Option<Duration>,
    /// `SO_SNDBUF` in bytes.
    pub send_buffer_bytes: Option<u32>,
    /// `SO_RCVBUF` in bytes.
    pub recv_buffer_bytes: Option<u32>,
}

/// Binds and listens with `SO_REUSEPORT`, so that each worker has a listener of its own.
///
/// # Errors
/// What socket(2), setsockopt(2), bind(2) and listen(2) report.
pub fn listen(address: SocketAddr, options: &SocketOptions) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(time) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
    }
    socket.set_tcp_user_timeout(options.user_timeout)?;
    // Before listen(2): the window scale is fixed by the size that the listener has.
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.recv_buffer_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A socket for a connection to `address`, from the address `source` where one is given.
///
/// # Errors
/// What socket(2) reports, `EMFILE` above all, and bind(2) for a `source` that is not this host's.
pub fn connecting(address: &SockAddr, source: Option<IpAddr>) -> io::Result<OwnedFd> {
    let domain = address.domain();
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if domain != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(source) = source {
        // The port is chosen at connect(2), among all that are free towards that address, not at
        // bind(2), where it would have to be free towards all (ip(7)).
        set_int(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    Ok(socket.into())
}

/// A connection of the listener's backlog, if one is there; never blocks.
///
/// For a listener on which no accept is in flight, or the connection could be gone between the
/// look and the accept(2).
pub fn accept_ready(listener: &OwnedFd) -> Option<OwnedFd> {
    let mut polled = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut polled, Some(&now)) {
        Ok(1) => rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC).ok(),
        _ => None,
    }
}

/// The address of the peer, or `None` where it is not an IP address or the peer is gone.
pub fn peer_address(socket: &impl AsFd) -> Option<SocketAddr> {
    SockRef::from(socket).peer_addr().ok().and_then(|address| address.as_socket())
}

/// Acknowledges what has arrived now instead of with the next data, once.
pub fn acknowledge_now(socket: &impl AsFd) {
    // An even number sends the acknowledgement that is due and leaves the socket in the mode in
    // which later ones wait for data (tcp_sock_set_quickack in net/ipv4/tcp.c); the bool of the
    // safe wrappers would end that mode.
    // Fails only where the connection is gone already, which the receive side reports.
    let _ = set_int(socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 2);
}

/// Whether a receive would have something to tell: bytes, an end or an error. One system call,
/// which takes nothing (recv(2), `MSG_PEEK`).
pub fn has_news(socket: &impl AsFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked =
        SockRef::from(socket).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT);
    !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// setsockopt(2) of an integer, for options that no safe wrapper has.
fn set_int(socket: &impl AsFd, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    // invariant: 4 bytes.
    let bytes = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `bytes` bytes from
    // a live integer of that size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            bytes,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends FIN: nothing more will be written.
pub fn shut_write(socket: &impl AsFd) {
    // Fails only where the connection is gone already, which the receive side reports.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// Makes close(2) send RST, so that the peer cannot take the end for an orderly one.
pub fn reset_on_close(socket: &impl AsFd) {
    // Fails only on sockets that know no linger; those close as they always do.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
