//! Lists made by hand, by rcgen and by openssl.

mod check;
mod interop;
mod kit;
mod parse;
mod values;
