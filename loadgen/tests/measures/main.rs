//! `ringfort-loadgen` as a process, against real servers: a gateway, Python's `ssl`, OpenSSL,
//! nginx, and sockets that behave badly.

mod bad;
mod good;
mod http2;
mod kit;
