//! What sockets do: connect, send, receive, close, as tcp(7) has it.

use std::collections::VecDeque;

use super::{Event, Fault, Inner, Kind, Owner};

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The peer reset the connection.
    pub const RESET: Self = Self(libc::ECONNRESET);
    /// The connection can no longer be written to.
    pub const PIPE: Self = Self(libc::EPIPE);
    /// Nobody listens.
    pub const REFUSED: Self = Self(libc::ECONNREFUSED);
    /// No answer.
    pub const TIMED_OUT: Self = Self(libc::ETIMEDOUT);
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing has arrived.
    Nothing,
    /// The peer has ended.
    End,
    /// The connection has failed.
    Failed(Errno),
}

/// Milliseconds between two attempts at a connection whose SYN was dropped.
const SYN_RETRY_MS: u64 = 1_000;
/// Attempts before connect(2) gives up (`tcp_syn_retries`).
const SYN_TRIES_MAX: u32 = 7;

impl Inner {
    /// A listener at `address`.
    pub fn listen(&mut self, address: &str, owner: Owner, backlog_max: usize) -> i32 {
        let kind = Kind::Listening { backlog: VecDeque::new(), backlog_max };
        let number = self.add_socket(owner, kind, [address, ""]);
        self.note(format_args!("#{number} listens at {address} for {owner:?}"));
        number
    }

    /// A socket that will connect to `remote`.
    pub fn new_socket(&mut self, owner: Owner, local: &str, remote: &str) -> i32 {
        self.add_socket(owner, Kind::New, [local, remote])
    }

    /// connect(2); the owner is told when it is done.
    pub fn connect(&mut self, number: i32) {
        let Some(socket) = self.socket(number) else { return };
        socket.kind = Kind::Connecting;
        let at = self.arrival(number, 0);
        self.schedule(at, Event::Syn { from: number, tries: 1 });
    }

    pub(super) fn on_syn(&mut self, from: i32, tries: u32) {
        let Some(socket) = self.socket(from) else { return };
        if !socket.open || socket.is_dead {
            return;
        }
        let (local, remote) = (socket.local.clone(), socket.remote.clone());
        let is_worker = matches!(socket.owner, Owner::Worker(_));
        let is_unix = socket.is_unix;
        let listeners = self.listeners(&remote);
        if listeners.is_empty() && is_unix {
            // unix(7): there is no socket file.
            let result = Err(Errno(libc::ENOENT));
            return self.schedule(self.now, Event::Connected { socket: from, result });
        }
        if listeners.is_empty() || (is_worker && self.fault(Fault::ConnectRefused)) {
            let at = self.arrival(from, 0);
            let result = Err(Errno::REFUSED);
            return self.schedule(at, Event::Connected { socket: from, result });
        }
        let silent = is_worker && self.fault(Fault::ConnectSilent);
        let listener = self.pick(&listeners);
        if silent || self.backlog_is_full(listener) {
            if tries >= SYN_TRIES_MAX {
                let result = Err(Errno::TIMED_OUT);
                return self.schedule(self.now, Event::Connected { socket: from, result });
            }
            let at = self.now + ((SYN_RETRY_MS * 1_000_000) << (tries - 1));
            return self.schedule(at, Event::Syn { from, tries: tries + 1 });
        }
        self.establish(from, listener, [&remote, &local]);
    }

    fn backlog_is_full(&mut self, listener: i32) -> bool {
        match self.socket(listener).map(|socket| &socket.kind) {
            Some(Kind::Listening { backlog, backlog_max }) => backlog.len() >= *backlog_max,
            _ => true,
        }
    }

    fn establish(&mut self, from: i32, listener: i32, names: [&str; 2]) {
        let Some(owner) = self.socket(listener).map(|socket| socket.owner) else { return };
        let accepted = self.add_socket(owner, Kind::Connected(from), names);
        // A connection that waits in a backlog has no descriptor.
        self.file_closed(owner);
        if let Some(Kind::Listening { backlog, .. }) =
            self.socket(listener).map(|socket| &mut socket.kind)
        {
            backlog.push_back(accepted);
        }
        if let Some(socket) = self.socket(from) {
            socket.kind = Kind::Connected(accepted);
        }
        self.note(format_args!("#{from} reaches #{listener} as #{accepted}"));
        self.touch(listener);
        let at = self.arrival(accepted, 0);
        self.schedule(at, Event::Connected { socket: from, result: Ok(accepted) });
    }

    pub(super) fn on_connected(&mut self, number: i32, result: Result<i32, Errno>) {
        let Some(socket) = self.socket(number) else { return };
        if !socket.open {
            return;
        }
        let is_worker = matches!(socket.owner, Owner::Worker(_));
        if let Err(errno) = result {
            socket.error = Some(errno);
            socket.is_dead = true;
            self.note(format_args!("#{number} does not connect: {errno:?}"));
            return self.touch(number);
        }
        socket.is_up = true;
        if is_worker && self.fault(Fault::ConnectReset) {
            self.fail(number, Errno::RESET);
        }
        self.touch(number);
    }

    /// The next connection of a listener.
    pub fn accept(&mut self, listener: i32) -> Option<i32> {
        let Some(Kind::Listening { backlog, .. }) =
            self.socket(listener).map(|socket| &mut socket.kind)
        else {
            return None;
        };
        let number = backlog.pop_front()?;
        if let Some(Owner::Worker(worker)) = self.socket(number).map(|socket| socket.owner) {
            self.open_files[worker] += 1;
        }
        self.touch(number);
        Some(number)
    }

    /// How connect(2) stands: `None` while it is under way.
    pub fn connected(&mut self, number: i32) -> Option<Result<(), Errno>> {
        let socket = self.socket(number)?;
        match socket.error.take() {
            Some(errno) => Some(Err(errno)),
            None if socket.is_dead => Some(Err(Errno::RESET)),
            None => socket.is_up.then_some(Ok(())),
        }
    }

    /// Takes up to `max` bytes that have arrived.
    pub fn read(&mut self, number: i32, into: &mut Vec<u8>, max: usize) -> Read {
        let Some(socket) = self.socket(number) else { return Read::Failed(Errno::RESET) };
        if socket.inbox.is_empty() {
            // net/ipv4/tcp.c, tcp_recvmsg_locked: FIN, then the error, which is told once; then a
            // connection that is over looks like one that has ended.
            return match (socket.fin_arrived, socket.error.take()) {
                (true, error) => {
                    socket.error = error;
                    Read::End
                }
                (false, Some(errno)) => Read::Failed(errno),
                (false, None) if socket.is_dead => Read::End,
                (false, None) => Read::Nothing,
            };
        }
        let count = socket.inbox.len().min(max);
        into.extend(socket.inbox.drain(..count));
        if let Kind::Connected(peer) = socket.kind {
            let at = self.arrival(number, 0);
            self.schedule(at, Event::Window { of: peer });
        }
        Read::Bytes(count)
    }

    /// Whether poll(2) would say that a read has something to tell.
    pub fn has_news(&mut self, number: i32) -> bool {
        self.socket(number).is_none_or(|it| !it.inbox.is_empty() || it.fin_arrived || it.is_dead)
    }

    /// Whether it is a Unix socket.
    pub fn is_unix(&mut self, number: i32) -> bool {
        self.socket(number).is_some_and(|socket| socket.is_unix)
    }

    /// Bytes that have arrived and were not taken.
    pub fn readable(&mut self, number: i32) -> usize {
        self.socket(number).map_or(0, |socket| socket.inbox.len())
    }

    /// Hands over as many of `bytes` as fit.
    ///
    /// # Errors
    /// The errno of send(2).
    pub fn write(&mut self, number: i32, bytes: &[u8]) -> Result<usize, Errno> {
        let Some(socket) = self.socket(number) else { return Err(Errno::PIPE) };
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        if socket.is_dead || socket.fin_wanted || !matches!(socket.kind, Kind::Connected(_)) {
            return Err(Errno::PIPE);
        }
        let room = socket.outbox_max.saturating_sub(socket.outbox.len());
        let count = room.min(bytes.len());
        socket.outbox.extend(&bytes[..count]);
        self.pump(number);
        Ok(count)
    }

    /// Whether all that was written has left, or is lost.
    pub fn is_flushed(&mut self, number: i32) -> bool {
        self.socket(number).is_none_or(|socket| {
            socket.is_dead || (socket.outbox.is_empty() && socket.in_flight == 0)
        })
    }

    /// Sends what the peer's window has room for, and FIN behind the last byte.
    pub(super) fn pump(&mut self, number: i32) {
        let Some(socket) = self.socket(number) else { return };
        let Kind::Connected(peer) = socket.kind else { return };
        if socket.is_dead {
            return;
        }
        let in_flight = socket.in_flight;
        let segment = self.segment_bytes(number);
        let used = self.socket(peer).map_or(0, |peer| peer.inbox.len());
        // A peer whose descriptor is closed takes all, and answers with a reset.
        let window = match self.socket(peer) {
            Some(peer) if peer.open => peer.window,
            _ => usize::MAX / 2,
        };
        let mut room = window.saturating_sub(used + in_flight);
        while let Some(socket) = self.socket(number)
            && !socket.outbox.is_empty()
            && room > 0
        {
            let count = socket.outbox.len().min(room).min(segment);
            let bytes: Vec<u8> = socket.outbox.drain(..count).collect();
            socket.in_flight += count;
            room -= count;
            let at = self.arrival(number, count);
            self.schedule(at, Event::Arrive { from: number, to: peer, bytes });
            self.touch(number);
        }
        if let Some(socket) = self.socket(number)
            && socket.outbox.is_empty()
            && socket.fin_wanted
            && !socket.fin_sent
        {
            socket.fin_sent = true;
            let at = self.arrival(number, 0);
            self.schedule(at, Event::Fin { to: peer });
        }
    }

    fn peer_of(&mut self, number: i32) -> Option<i32> {
        match self.socket(number)?.kind {
            Kind::Connected(peer) => Some(peer),
            _ => None,
        }
    }

    pub(super) fn on_arrive(&mut self, from: i32, to: i32, bytes: Vec<u8>) {
        if let Some(sender) = self.socket(from) {
            sender.in_flight -= bytes.len();
            self.touch(from);
        }
        let Some(socket) = self.socket(to) else { return };
        if socket.is_dead {
            return;
        }
        if !socket.open {
            // RFC 9293, 3.6.1: bytes that nobody can read any more are answered with a reset.
            return self.fail(to, Errno::RESET);
        }
        socket.inbox.extend(bytes);
        self.touch(to);
    }

    pub(super) fn on_fin(&mut self, to: i32) {
        if let Some(socket) = self.socket(to).filter(|socket| !socket.is_dead) {
            socket.fin_arrived = true;
            self.touch(to);
            self.forget_if_over(to);
        }
    }

    pub(super) fn on_reset(&mut self, to: i32, errno: Errno) {
        let Some(socket) = self.socket(to) else { return };
        if socket.is_dead {
            return;
        }
        socket.is_dead = true;
        socket.error = Some(errno);
        socket.outbox.clear();
        if matches!(socket.owner, Owner::Actor(_)) {
            // As some kernels do; Linux would still hand out what has arrived, and the FIN.
            socket.inbox.clear();
            socket.fin_arrived = false;
        }
        self.touch(to);
        self.forget_if_over(to);
    }

    /// The connection fails at `number`, and its peer gets a reset.
    pub fn fail(&mut self, number: i32, errno: Errno) {
        let peer = self.peer_of(number);
        let Some(socket) = self.socket(number) else { return };
        if !socket.is_dead {
            socket.is_dead = true;
            socket.error = Some(errno);
            socket.outbox.clear();
            if let Some(peer) = peer {
                let at = self.reset_arrival(number);
                self.schedule(at, Event::Reset { to: peer, errno: Errno::RESET });
            }
        }
        self.touch(number);
        self.forget_if_over(number);
    }

    /// shutdown(2) of the sending direction.
    pub fn shut_write(&mut self, number: i32) {
        if let Some(socket) = self.socket(number) {
            socket.fin_wanted = true;
            self.pump(number);
        }
    }

    /// Makes close(2) reset the connection (`SO_LINGER` of zero).
    pub fn reset_on_close(&mut self, number: i32) {
        if let Some(socket) = self.socket(number) {
            socket.resets_on_close = true;
        }
    }

    /// close(2): FIN behind what was written; a reset where bytes were not read, or by request.
    pub fn close(&mut self, number: i32) {
        let Some(socket) = self.socket(number) else { return };
        if !std::mem::replace(&mut socket.open, false) {
            return self.violation(format_args!("#{number} is closed twice"));
        }
        let owner = socket.owner;
        // unix(7) sockets know no SO_LINGER; unread bytes are what resets them.
        let lingers = !socket.resets_on_close || socket.is_unix;
        let resets = !lingers || !socket.inbox.is_empty();
        self.file_closed(owner);
        self.note(format_args!("#{number} is closed{}", if resets { ", reset" } else { "" }));
        let backlog = match self.socket(number).map(|socket| &mut socket.kind) {
            Some(Kind::Listening { backlog, .. }) => std::mem::take(backlog),
            Some(Kind::Connected(_)) if !resets => {
                self.shut_write(number);
                self.forget_if_over(number);
                return;
            }
            _ => VecDeque::new(),
        };
        for waiting in backlog {
            if let Some(socket) = self.socket(waiting) {
                socket.open = false;
            }
            self.fail(waiting, Errno::RESET);
        }
        self.fail(number, Errno::RESET);
    }

    /// The address of the peer.
    pub fn remote(&mut self, number: i32) -> Option<String> {
        self.socket(number).filter(|socket| !socket.is_dead).map(|it| it.remote.clone())
    }

    fn forget_if_over(&mut self, number: i32) {
        if let Some(socket) = self.socket(number)
            && !socket.open
            && (socket.is_dead || (socket.fin_sent && socket.fin_arrived))
        {
            self.forget(number);
        }
    }
}
