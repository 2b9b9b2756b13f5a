//! io_uring and Linux, without policy and without async: the only room that holds `unsafe`.
//!
//! What crosses this room's border is owned memory and owned descriptors, so no caller can make
//! the kernel touch memory that is gone. It must not know what a connection, a task or TLS is.
#![allow(unsafe_code)]

pub mod bufring;
pub mod cpu;
pub mod descriptor;
pub mod ops;
pub mod pages;
pub mod ring;
pub mod sockopt;
pub mod waker;
