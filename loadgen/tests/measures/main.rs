//! `ringfort-loadgen` as a process, against real servers: a gateway, Python's `ssl`, OpenSSL, and
//! sockets that behave badly.

mod bad;
mod good;
mod kit;
