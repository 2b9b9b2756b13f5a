//! HTTP of a client: requests that are made once, and answers that are judged as they come.
//!
//! Sans-IO and strict: what is no good answer is a failure with a name, never a guess. HTTP/1.1
//! (RFC 9112) is taken apart here; HTTP/2 (RFC 9113) by the `h2` crate, which `multiplex` drives.
//!
//! ```text
//! request; response -> { body, verdict }
//! ```

pub mod body;
pub mod request;
pub mod response;
pub mod verdict;
