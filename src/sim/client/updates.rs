//! Whether a gateway that is asked for new keys answers before its next data (RFC 8446, 4.6.3).
//!
//! rustls does not say when its peer's keys change, but records tell by their length. Invariant: an
//! answer may be seen where there is none, in data of the same length, but none is overlooked.

/// A protected KeyUpdate: header and body of the message, content type, tag.
const ANSWER_BYTES: usize = 4 + 1 + 1 + 16;

/// Requests for new keys, and what came back.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// Bytes of data that were sent before the last request that has no answer.
    asked_after: Option<u64>,
    header: Vec<u8>,
    /// Bytes of the record under way that are still to come.
    body_left: usize,
}

impl Updates {
    /// The client asks, behind `sent` bytes of data.
    pub(super) fn ask(&mut self, sent: u64) {
        self.asked_after = Some(sent);
    }

    /// Bytes came, as they are on the wire.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.body_left > 0 {
                self.body_left -= 1;
                continue;
            }
            self.header.push(*byte);
            if let [_, _, _, high, low] = self.header[..] {
                self.body_left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                if self.body_left == ANSWER_BYTES {
                    self.asked_after = None;
                }
            }
        }
    }

    /// Whether data has come back that the gateway read behind the request, and no answer before
    /// it.
    pub(super) fn is_overdue(&self, echoed: u64) -> bool {
        self.asked_after.is_some_and(|sent| echoed > sent)
    }
}
