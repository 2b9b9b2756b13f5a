//! A connection from accept to close.

pub mod sources;
