//! The configuration: from the text of a file, or the flags of the command line, to the
//! immutable [`snapshot::Snapshot`] that the data plane reads.
//!
//! Text -> [`model::Model`] (the shape is right) -> [`snapshot::Snapshot`] (the meaning is
//! right). Nothing here opens a file, asks for a name's addresses or looks at the clock: `control`
//! hands those in.

pub mod error;
pub mod model;
pub mod resolve;
pub mod snapshot;

#[cfg(test)]
mod document;
#[cfg(test)]
pub(crate) mod kit;
