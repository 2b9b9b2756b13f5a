//! Whether an answer is the one that was asked for: its status, and what its body was to be.
//!
//! HTTP/1.1 and HTTP/2 are judged by the same.

use crate::tally::Failure;

/// What a request says about the answer that it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Whether the answer has no body whatever its fields say (RFC 9110, 9.3.2).
    pub is_head: bool,
    /// Bytes of the body; `None` for any number.
    pub body_bytes: Option<u64>,
    /// Whether the body is that of the request: all zeros.
    pub is_echo: bool,
}

/// The body of an answer, while it comes.
#[derive(Debug)]
pub struct Verdict {
    expected: Expected,
    /// The status; 0 while the head is not complete.
    pub status: u16,
    body_bytes: u64,
}

impl Verdict {
    /// Nothing has come yet.
    pub const fn new(expected: Expected) -> Self {
        Self { expected, status: 0, body_bytes: 0 }
    }

    /// What the request wanted.
    pub const fn expected(&self) -> Expected {
        self.expected
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Takes a piece of the body. Of an answer that is an error its body may be anything.
    ///
    /// # Errors
    /// A body that is not the one that was asked for.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.body_bytes += piece.len() as u64;
        if !self.is_success() {
            return Ok(());
        }
        if self.expected.body_bytes.is_some_and(|bytes| self.body_bytes > bytes) {
            return Err(Failure::Answer("with a longer body than was asked for"));
        }
        if self.expected.is_echo && piece.iter().any(|&byte| byte != 0) {
            return Err(Failure::Answer("not what was sent"));
        }
        Ok(())
    }

    /// The answer is complete.
    ///
    /// # Errors
    /// Its status, or a body that is shorter than was asked for.
    pub fn end(&self) -> Result<(), Failure> {
        if !self.is_success() {
            return Err(Failure::Status(self.status));
        }
        if self.expected.body_bytes.is_some_and(|bytes| self.body_bytes < bytes) {
            return Err(Failure::Answer("with a shorter body than was asked for"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, expected: Expected, body: &[u8]) -> Result<(), Failure> {
        let mut verdict = Verdict::new(expected);
        verdict.status = status;
        verdict.feed(body)?;
        verdict.end()
    }

    #[test]
    fn status_length_and_content_are_judged() {
        let any = Expected::default();
        let two = Expected { body_bytes: Some(2), ..any };
        let echo = Expected { is_echo: true, ..two };
        let longer = Failure::Answer("with a longer body than was asked for");
        let shorter = Failure::Answer("with a shorter body than was asked for");
        for (status, expected, body, verdict) in [
            (200, any, &b"abc"[..], Ok(())),
            (206, two, b"ab", Ok(())),
            (200, two, b"abc", Err(longer)),
            (200, two, b"a", Err(shorter)),
            (200, two, b"", Err(shorter)),
            (200, echo, b"\0\0", Ok(())),
            (200, echo, b"\0x", Err(Failure::Answer("not what was sent"))),
            (404, two, b"not found", Err(Failure::Status(404))),
            (304, any, b"", Err(Failure::Status(304))),
        ] {
            assert_eq!(judged(status, expected, body), verdict, "{status} {expected:?} {body:?}");
        }
    }
}
