//! Whether it is worth while to parse a head again. It must not know what a head says.
//!
//! A head that comes byte by byte would be parsed once for each byte. This looks at each byte once
//! and lets a parse happen at most twice: with what came first, for what is no HTTP at all is
//! refused at once, and when the head has ended. A bare LF, which is refused when the head is
//! there, costs one more each: as many as there may be fields.

/// Where the search for the end of a head has got to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    has_begun: bool,
    searched: usize,
}

impl HeadScan {
    /// For a head of which nothing has come.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether parsing `bytes`, all that has come of the head and of what follows it, can have
    /// another outcome than before: it is the first time, the head has ended or is wrong, or it has
    /// `bytes_max` bytes.
    ///
    /// `bytes` must begin with what it began with before.
    pub fn is_due(&mut self, bytes: &[u8], bytes_max: usize) -> bool {
        let is_first = !self.has_begun && !bytes.is_empty();
        self.has_begun |= is_first;
        // Most heads come in one piece, and are not searched at all.
        is_first || self.has_ended(bytes) || bytes.len() >= bytes_max
    }

    fn has_ended(&mut self, bytes: &[u8]) -> bool {
        while let Some(found) =
            bytes.get(self.searched..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'))
        {
            let at = self.searched + found;
            // An empty line. The CRLF that may be before a request line is none.
            let is_crlf = at >= 1 && bytes[at - 1] == b'\r';
            if is_crlf && at >= 2 && bytes[at - 2] == b'\n' {
                return true;
            }
            self.searched = at + 1;
            // Once for each, or a head that goes on behind it would be parsed for each byte.
            if !is_crlf {
                return true;
            }
        }
        self.searched = self.searched.max(bytes.len());
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_at(head: &[u8]) -> Vec<usize> {
        let mut scan = HeadScan::new();
        (0..=head.len()).filter(|&len| scan.is_due(&head[..len], 100)).collect()
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_due_at_its_first_and_last_byte() {
        assert_eq!(due_at(b"GET / HTTP/1.1\r\na: b\r\n\r\n"), [1, 24]);
        assert_eq!(due_at(b"\r\nGET / HTTP/1.1\r\n\r\n"), [1, 20]);
    }

    #[test]
    fn what_cannot_end_well_is_due_too() {
        assert_eq!(due_at(b"\r\n\r\n"), [1, 4]);
        assert_eq!(due_at(b"GET / HTTP/1.1\n"), [1, 15]);
        let mut scan = HeadScan::new();
        assert!(scan.is_due(&[b'a'; 20], 100));
        assert!(!scan.is_due(&[b'a'; 99], 100));
        assert!(scan.is_due(&[b'a'; 100], 100));
    }

    #[test]
    fn a_bare_lf_makes_a_head_due_once() {
        assert_eq!(due_at(b"GET / HTTP/1.1\na: b\r\nc: d\n\n"), [1, 15, 26, 27]);
    }

    #[test]
    fn what_ended_stays_due() {
        let mut scan = HeadScan::new();
        assert!(scan.is_due(b"a\r\n\r\nb", 100));
        assert!(scan.is_due(b"a\r\n\r\nbc", 100));
    }
}
