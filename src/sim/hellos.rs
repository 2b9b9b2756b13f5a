//! What clients said first, for others to say it again (RFC 8446, 8): a ticket that is kept by the
//! gateway is good for one handshake.
//!
//! It must not know whose they are. Invariant: an answer is counted where it resumes a session of
//! TLS 1.3, which is seen in the clear.

/// First flights that are kept.
const KEPT: usize = 16;

/// A first flight.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Its number.
    pub number: usize,
    /// What was sent.
    pub bytes: Vec<u8>,
    /// The listener that it was sent to.
    pub listener: usize,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Hellos {
    kept: Vec<Hello>,
    /// How often each was answered by resuming, whether it is kept or not.
    resumed: Vec<u32>,
}

impl Hellos {
    /// Takes note of a first flight; returns its number. Kept are those that offer a session.
    pub fn add(&mut self, bytes: Vec<u8>, listener: usize) -> usize {
        let number = self.resumed.len();
        self.resumed.push(0);
        if !offers_session(&bytes) {
            return number;
        }
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(Hello { number, bytes, listener });
        number
    }

    /// Those that can be sent again.
    pub fn kept(&self) -> &[Hello] {
        &self.kept
    }

    /// One was answered by resuming a session. Returns how often that was so by now.
    pub fn resumed(&mut self, number: usize) -> u32 {
        self.resumed[number] += 1;
        self.resumed[number]
    }
}

/// Whether a ClientHello offers a session of TLS 1.3: pre_shared_key is its last extension.
fn offers_session(hello: &[u8]) -> bool {
    hello.windows(4).enumerate().any(|(at, window)| {
        let left = u16::from_be_bytes([window[2], window[3]]);
        window[..2] == [0, 0x29] && at + 4 + usize::from(left) == hello.len()
    })
}

/// Whether a flight of a server begins with a ServerHello that resumes a session of TLS 1.3: one
/// with the extension pre_shared_key (RFC 8446, 4.2.11).
pub fn resumes(flight: &[u8]) -> bool {
    has_pre_shared_key(flight).unwrap_or(false)
}

fn has_pre_shared_key(flight: &[u8]) -> Option<bool> {
    // Record header, then handshake header, version and random.
    let [22, _, _, _, _, 2, rest @ ..] = flight else { return None };
    let (session_id, rest) = rest.get(3 + 2 + 32..)?.split_first()?;
    // The suite, the compression, and the bytes of the extensions.
    let mut rest = rest.get(usize::from(*session_id) + 2 + 1 + 2..)?;
    // What follows is the next record, which is of no such type: its first two bytes are 20, 3.
    while let [high, low, high_bytes, low_bytes, after @ ..] = rest {
        match u16::from_be_bytes([*high, *low]) {
            0x0029 => return Some(true),
            0x002b | 0x0033 => {}
            _ => return Some(false),
        }
        rest = after.get(usize::from(u16::from_be_bytes([*high_bytes, *low_bytes]))..)?;
    }
    Some(false)
}
