//! What a core holds at a moment, for the simulation's oracles.

use super::core::Core;

/// Counts of what is held. A core that has drained holds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Sockets that are not closed.
    pub sockets: usize,
    /// Of these, the ones that a task owns.
    pub sockets_owned: usize,
    /// Listeners that are not closed.
    pub listeners: usize,
    /// Of these, the ones that a task owns.
    pub listeners_owned: usize,
    /// Operations in flight.
    pub operations: usize,
    /// Timers that run.
    pub timers: usize,
    /// Receive buffers that are lent.
    pub buffers_lent: u16,
    /// The most buffers that one socket has queued.
    pub queued_buffers_max: usize,
    /// The most bytes that one socket has pending behind its send in flight.
    pub pending_bytes_max: usize,
}

impl Core {
    /// What this core holds now.
    pub fn audit(&self) -> Audit {
        let tasks = self.tasks();
        let state = self.state();
        let (free, total) = state.driver.recv_buffers();
        let sockets = || state.sockets.iter().map(|(_, socket)| socket);
        Audit {
            tasks,
            sockets: state.sockets.len(),
            sockets_owned: sockets().filter(|it| it.is_owned()).count(),
            listeners: state.listeners.iter().filter(|(_, it)| it.is_open()).count(),
            listeners_owned: state.listeners.iter().filter(|(_, it)| it.is_owned()).count(),
            operations: state.ops.in_flight(),
            timers: state.timers.len(),
            buffers_lent: total - free,
            queued_buffers_max: sockets().map(|it| it.queue.len()).max().unwrap_or(0),
            pending_bytes_max: sockets().map(|it| it.pending.len()).max().unwrap_or(0),
        }
    }
}
