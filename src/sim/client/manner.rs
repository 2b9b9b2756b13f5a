//! How clients misbehave: before, during and instead of their handshake.

use super::{Client, State};
use crate::sim::hellos::resumes;
use crate::sim::ledger::Ledger;
use crate::sim::net::{Inner, Read};
use crate::sim::plan::Plan;
use crate::sim::random::Random;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Good,
    /// Sends nothing.
    Silent,
    /// Sends a request without TLS.
    PlainHttp,
    /// Sends what is no protocol.
    Garbage,
    /// Sends a ClientHello without an end.
    HugeHello,
    /// Sends a ClientHello with a byte changed.
    BrokenHello,
    /// Sends a part of its ClientHello, and nothing more.
    HelloThenSilence,
    /// Sends a part of its ClientHello, and FIN.
    HelloThenEnd,
    /// Sends its ClientHello, and resets the connection.
    HelloThenReset,
    /// Sends its ClientHello, and a fatal alert.
    HelloThenAlert,
    /// Sends its ClientHello twice.
    HelloTwice,
    /// Sends what another client sent first.
    HelloReplayed,
}

impl Manner {
    /// One that is not [`Manner::Good`].
    pub fn bad(random: &mut Random) -> Self {
        *random.pick(&[
            Self::Silent,
            Self::PlainHttp,
            Self::Garbage,
            Self::HugeHello,
            Self::BrokenHello,
            Self::HelloThenSilence,
            Self::HelloThenEnd,
            Self::HelloThenReset,
            Self::HelloThenAlert,
            Self::HelloTwice,
        ])
    }

    /// Whether this is [`Manner::Good`].
    pub fn is_good(self) -> bool {
        self == Self::Good
    }
}

/// A fatal handshake_failure in plaintext.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

impl Client {
    /// Sends what it has to send, once, and waits for the gateway to end it.
    pub(super) fn misbehave(&mut self, net: &mut Inner, ledger: &mut Ledger, plan: &Plan) {
        if !std::mem::replace(&mut self.has_opened, true) {
            let bytes = self.opening();
            self.outbox.extend(bytes);
        }
        let (head, _) = self.outbox.as_slices();
        match net.write(self.socket, head) {
            Ok(count) => {
                self.outbox.drain(..count);
            }
            Err(_) => return self.close(net, false),
        }
        if self.outbox.is_empty() {
            match self.manner {
                Manner::HelloThenReset => return self.reset(net),
                Manner::HelloThenEnd => net.shut_write(self.socket),
                _ => {}
            }
        }
        loop {
            let mut bytes = Vec::new();
            match net.read(self.socket, &mut bytes, super::READ_BYTES) {
                Read::Bytes(_) => self.flight.append(&mut bytes),
                Read::Nothing => return,
                Read::End | Read::Failed(_) => break,
            }
        }
        if let Some(hello) = self.replays.take()
            && resumes(&self.flight)
        {
            self.count_resumed(net, ledger, plan, hello.number);
        }
        self.close(net, false);
        debug_assert!(matches!(self.state, State::Closed { .. }));
    }

    fn opening(&mut self) -> Vec<u8> {
        self.collect();
        let mut hello: Vec<u8> = self.outbox.drain(..).collect();
        match self.manner {
            Manner::Good | Manner::Silent => Vec::new(),
            Manner::PlainHttp => b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n".to_vec(),
            Manner::Garbage => {
                let mut bytes = vec![0; 100];
                self.random.fill(&mut bytes);
                bytes[0] |= 0x80;
                bytes
            }
            Manner::HugeHello => {
                // Records of a ClientHello that says it has 60,000 bytes.
                let mut bytes = vec![22, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60, 3, 3];
                bytes.resize(5 + 0x4000, 7);
                let again = bytes[..5].to_vec();
                bytes.extend(again);
                bytes.resize(bytes.len() + 0x4000, 7);
                bytes
            }
            Manner::BrokenHello => {
                let at = self.random.range(5..=hello.len() as u64 - 1) as usize;
                hello[at] ^= 1 << self.random.below(8);
                hello
            }
            Manner::HelloThenSilence | Manner::HelloThenEnd => {
                let count = self.random.range(1..=hello.len() as u64 - 1) as usize;
                hello.truncate(count);
                hello
            }
            Manner::HelloThenReset => hello,
            Manner::HelloThenAlert => [hello.as_slice(), &ALERT].concat(),
            Manner::HelloTwice => [hello.as_slice(), &hello].concat(),
            Manner::HelloReplayed => self.replays.as_ref().map_or(hello, |it| it.bytes.clone()),
        }
    }
}
