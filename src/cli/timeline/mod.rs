//! The timeline of one mutual-TLS connection: every message of its handshake, with its time and
//! its bytes, and each side's verification of the other.
//!
//! ```text
//! record (a client that keeps every byte; observe: ears in rustls)
//!   -> decode (records; keys: the key log's secrets; body: what a message says)
//!   -> rows (one line each, merged with the gateway's own events) -> print (a table)
//! ```
//!
//! It is for the commands that show a connection to a person: it blocks, and copies freely. The
//! server that it talks to may be anything: what it sends is bounded and never trusted.

mod body;
mod decode;
mod error;
mod keys;
mod observe;
mod print;
mod record;
mod recorder;
mod rows;
#[cfg(test)]
mod tests;

pub use body::{Body, Certificate, ServerHello, Share};
pub use decode::{Decoded, Message, Totals};
pub use error::{Cause, Phase, RecordError};
pub use print::{colour_wanted, table, table_of};
pub(super) use print::{printable, steers, wrap};
pub use record::{
    ClientCertificate, Direction, RecordOptions, Recording, ResponseEnd, Trust, record,
};
pub use recorder::Recorder;
pub use rows::{Lane, Row, ServerEvent};
