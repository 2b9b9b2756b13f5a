//! `sys::bufring::BufferPool` beside a queue of addresses: each buffer is in one place, comes in
//! the order in which it went home, and holds what was put into it and nothing of its neighbours.

use std::collections::VecDeque;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use ringfort::sys::bufring::{BufferPool, Filled, RingBuffer};

/// Operations of one input.
const OPERATIONS_MAX: usize = 1024;
/// Buffers that go round in one input at most; enough for the ring's 16-bit tail to wrap.
const CHURN_MAX: usize = (1 << 16) + (1 << 10);

#[derive(Arbitrary, Debug)]
enum Operation {
    Fill { bytes: u8, value: u8 },
    HandOver { choice: u8 },
    Write { choice: u8, value: u8 },
    Advance { choice: u8, count: u8 },
    Drop { choice: u8 },
    Churn { times: u16 },
}

/// A lent buffer, its address, and what it has to hold.
struct Lent {
    buffer: RingBuffer,
    address: usize,
    expected: Vec<u8>,
}

struct Pair {
    pool: Rc<BufferPool>,
    /// Addresses in the order in which they were provided; `None` for one that was never seen.
    provided: VecDeque<Option<usize>>,
    filled: Vec<(Filled, Option<usize>, Vec<u8>)>,
    lent: Vec<Lent>,
    churned: usize,
}

impl Pair {
    fn new(buffers: u16, buffer_bytes: usize) -> Self {
        Self {
            pool: BufferPool::new(buffers, buffer_bytes).expect("memory"),
            provided: vec![None; usize::from(buffers)].into(),
            filled: Vec::new(),
            lent: Vec::new(),
            churned: 0,
        }
    }

    fn fill(&mut self, bytes: usize, value: u8) {
        let content: Vec<u8> = (0..bytes).map(|at| value.wrapping_add(at as u8)).collect();
        let filled = self.pool.fill(&content);
        let address = self.provided.pop_front();
        assert_eq!(filled.is_some(), address.is_some(), "one is there, or ENOBUFS");
        let (Some(filled), Some(address)) = (filled, address) else { return };
        let count = bytes.min(self.pool.buffer_bytes());
        assert_eq!(filled.bytes(), count, "as much as fits");
        self.filled.push((filled, address, content[..count].to_vec()));
    }

    fn hand_over(&mut self, choice: u8) {
        if self.filled.is_empty() {
            return;
        }
        let index = usize::from(choice) % self.filled.len();
        let (filled, known, expected) = self.filled.swap_remove(index);
        let buffer = self.pool.hand_over(filled);
        let address = buffer.as_ptr().addr();
        assert!(known.is_none_or(|known| known == address), "buffers come in their order");
        let is_apart = |other: &Lent| address.abs_diff(other.address) >= self.pool.buffer_bytes();
        assert!(self.lent.iter().all(is_apart), "a buffer is lent twice, or two overlap");
        self.lent.push(Lent { buffer, address, expected });
    }

    fn chosen(&mut self, choice: u8) -> Option<&mut Lent> {
        let index = usize::from(choice) % self.lent.len().max(1);
        self.lent.get_mut(index)
    }

    fn drop_one(&mut self, choice: u8) {
        if self.lent.is_empty() {
            return;
        }
        let lent = self.lent.swap_remove(usize::from(choice) % self.lent.len());
        self.provided.push_back(Some(lent.address));
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Fill { bytes, value } => self.fill(usize::from(bytes), value),
            Operation::HandOver { choice } => self.hand_over(choice),
            Operation::Write { choice, value } => {
                if let Some(lent) = self.chosen(choice) {
                    lent.buffer.fill(value);
                    lent.expected.fill(value);
                }
            }
            Operation::Advance { choice, count } => {
                if let Some(lent) = self.chosen(choice) {
                    let count = usize::from(count).min(lent.expected.len());
                    lent.buffer.advance(count);
                    lent.expected.drain(..count);
                }
            }
            Operation::Drop { choice } => self.drop_one(choice),
            Operation::Churn { times } => {
                // Few of them most of the time, and enough for a wrap some of the time.
                let times = usize::from(times >> (times % 16)).min(CHURN_MAX - self.churned);
                self.churned += times;
                for _ in 0..times {
                    self.fill(3, 1);
                    self.hand_over(u8::MAX);
                    self.drop_one(u8::MAX);
                }
            }
        }
    }

    fn check(&self) {
        let provided = usize::from(self.pool.provided());
        assert_eq!(provided, self.provided.len());
        let free = usize::from(self.pool.free());
        assert_eq!(free, self.provided.len() + self.filled.len(), "what is filled is not lent yet");
        assert_eq!(free + self.lent.len(), usize::from(self.pool.total()), "none is lost");
        for lent in &self.lent {
            assert_eq!(*lent.buffer, *lent.expected, "a buffer holds what was put into it");
        }
    }
}

/// Buffers neither leak nor are lent twice, go round in order, and do not touch each other.
pub fn bufring(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((size, bytes)) = input.arbitrary::<(u8, u8)>() else { return };
    let mut pair = Pair::new(1 << (size % 6), usize::from(bytes) + 1);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = input.arbitrary() else { break };
        pair.run(&operation);
        pair.check();
    }
    while !pair.filled.is_empty() {
        pair.hand_over(0);
    }
    while !pair.lent.is_empty() {
        pair.drop_one(0);
    }
    pair.check();
    assert_eq!(pair.pool.provided(), pair.pool.total(), "all have gone home");
}
