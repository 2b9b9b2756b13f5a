//! The runtime on a real io_uring with real sockets on loopback; the peers are blocking threads.
//!
//! Each test has a core of its own on its own thread. `kit` has what they share.

mod accept;
mod close;
mod kit;
mod peers;
mod pressure;
mod stream;
mod transport;
mod upstream_tls;
mod wake;
