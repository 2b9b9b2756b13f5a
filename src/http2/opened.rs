//! The streams that a client has opened, as far as their response has come: whether a reset of one
//! takes work from the server for nothing, and which ones the `h2` crate has refused by itself.
//!
//! PURE. It sees identifiers only. Invariant: it keeps at most [`HTTP2_WATCHED_STREAMS_MAX`].

use crate::limits::HTTP2_WATCHED_STREAMS_MAX;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its fields came.
    New,
    /// It was handed out as a request.
    Accepted,
    /// The head of a response was sent, an interim one perhaps.
    Answered,
}

/// What it means that the client resets a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// Before anything of a response: a request that was begun for nothing.
    BeforeResponse,
    /// A response that the client wants no more of.
    AmidResponse,
    /// A stream that is over or never was: nothing.
    OfNone,
}

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    /// In the order of their identifiers.
    streams: Vec<(u32, Stage)>,
    /// The highest identifier that was seen.
    last: u32,
    refused: u64,
}

impl Opened {
    /// Fields of `stream` came. RFC 9113, 5.1.1: "The identifier of a newly established stream MUST
    /// be numerically greater than all streams that the initiating endpoint has opened or
    /// reserved."
    pub(super) fn came(&mut self, stream: u32) {
        if stream <= self.last {
            return;
        }
        self.last = stream;
        if self.streams.len() >= HTTP2_WATCHED_STREAMS_MAX {
            self.streams.remove(0);
        }
        self.streams.push((stream, Stage::New));
    }

    /// It was handed out as a request.
    pub(super) fn accepted(&mut self, stream: u32) {
        if let Some(index) = self.find(stream) {
            self.streams[index].1 = Stage::Accepted;
        }
    }

    /// Fields were sent on it.
    pub(super) fn answered(&mut self, stream: u32) {
        if let Some(index) = self.find(stream) {
            let stage = std::mem::replace(&mut self.streams[index].1, Stage::Answered);
            self.refused += u64::from(stage == Stage::New);
        }
    }

    /// Its end was sent, or it was reset.
    pub(super) fn ended(&mut self, stream: u32) {
        if let Some(index) = self.find(stream) {
            let (_, stage) = self.remove(index);
            self.refused += u64::from(stage == Stage::New);
        }
    }

    /// The client has reset it.
    pub(super) fn reset(&mut self, stream: u32) -> Reset {
        match self.find(stream).map(|index| self.remove(index).1) {
            Some(Stage::New | Stage::Accepted) => Reset::BeforeResponse,
            Some(Stage::Answered) => Reset::AmidResponse,
            None => Reset::OfNone,
        }
    }

    /// Streams that were answered or reset by the server without having been handed out.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&stream, |(known, _)| *known).ok()
    }

    fn remove(&mut self, index: usize) -> (u32, Stage) {
        let removed = self.streams.remove(index);
        if self.streams.is_empty() && self.streams.capacity() > 16 {
            // An idle connection keeps nothing of what it once had.
            self.streams = Vec::new();
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_counts_only_before_a_response() {
        let mut opened = Opened::default();
        for stream in [1, 3, 5, 7] {
            opened.came(stream);
        }
        opened.accepted(3);
        opened.accepted(5);
        opened.answered(5);
        opened.accepted(7);
        opened.answered(7);
        opened.ended(7);
        assert_eq!(opened.reset(1), Reset::BeforeResponse);
        assert_eq!(opened.reset(3), Reset::BeforeResponse);
        assert_eq!(opened.reset(5), Reset::AmidResponse);
        for stream in [1, 3, 5, 7, 9] {
            assert_eq!(opened.reset(stream), Reset::OfNone, "{stream}");
        }
        // Trailers of a request open nothing.
        opened.came(7);
        assert_eq!(opened.reset(7), Reset::OfNone);
        assert_eq!(opened.refused(), 0);
    }

    #[test]
    fn what_was_never_handed_out_was_refused() {
        let mut opened = Opened::default();
        for stream in [1, 3, 5] {
            opened.came(stream);
        }
        opened.answered(1);
        opened.ended(1);
        opened.ended(3);
        opened.accepted(5);
        opened.answered(5);
        opened.ended(5);
        assert_eq!(opened.refused(), 2);
    }

    #[test]
    fn however_many_come_few_are_kept() {
        let mut opened = Opened::default();
        for stream in (1..100_000).step_by(2) {
            opened.came(stream);
        }
        assert_eq!(opened.streams.len(), HTTP2_WATCHED_STREAMS_MAX);
        assert_eq!(opened.reset(1), Reset::OfNone, "the first are forgotten");
        assert_eq!(opened.reset(99_999), Reset::BeforeResponse);
        for stream in (1..100_000).step_by(2) {
            opened.ended(stream);
        }
        assert_eq!(opened.streams.capacity(), 0);
    }
}
