//! `rt::op::OpSlots` beside a list of what is in flight.

use arbitrary::{Arbitrary, Unstructured};
use ringfort::rt::op::{Kind, OpId, OpSlots};

/// Operations of one input.
const OPERATIONS_MAX: usize = 4096;
/// Operations in flight at a time.
const IN_FLIGHT_MAX: usize = 256;

const KINDS: [Kind; 6] =
    [Kind::Accept, Kind::Receive, Kind::Send, Kind::Connect, Kind::Cancel, Kind::Close];

#[derive(Arbitrary, Debug)]
enum Operation {
    Start { kind: u8, owner: u32 },
    Complete { choice: u16 },
    CompleteMore { choice: u16, times: u8 },
    Churn { kind: u8, owner: u32, times: u16 },
}

#[derive(Clone, Copy)]
struct Flying {
    id: OpId,
    kind: Kind,
    owner: u32,
}

#[derive(Default)]
struct Pair {
    slots: OpSlots,
    flying: Vec<Flying>,
    /// The most that were in flight at a time.
    most: usize,
    /// The user data used last by each slot; the generation is in it.
    last: Vec<Option<u64>>,
}

impl Pair {
    fn start(&mut self, kind: u8, owner: u32) {
        let kind = KINDS[usize::from(kind) % KINDS.len()];
        let id = self.slots.start(kind, owner);
        let clash = self.flying.iter().any(|other| slot(other.id) == slot(id));
        assert!(!clash, "{id:?} is in a slot that is in use");
        self.flying.push(Flying { id, kind, owner });
        self.most = self.most.max(self.flying.len());
        // The slots are as many as were ever in flight at a time: none leaks.
        assert!(slot(id) < self.most, "{id:?} with {} at most in flight", self.most);
        self.last.resize(self.most, None);
        let before = self.last[slot(id)].replace(id.user_data());
        let generation = |data: u64| data >> 32 & 0x00ff_ffff;
        let fresh = before.is_none_or(|data| generation(data) != generation(id.user_data()));
        assert!(fresh, "{id:?} has the generation of the slot's last use");
    }

    fn chosen(&self, choice: u16) -> Option<usize> {
        (!self.flying.is_empty()).then(|| usize::from(choice) % self.flying.len())
    }

    fn complete(&mut self, index: usize, more: bool) {
        let Flying { id, kind, owner } = self.flying[index];
        let told = self.slots.complete(id.user_data(), more);
        assert_eq!(told, (kind, owner), "{id:?}");
        if !more {
            self.flying.swap_remove(index);
        }
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Start { kind, owner } => {
                if self.flying.len() < IN_FLIGHT_MAX {
                    self.start(kind, owner);
                }
            }
            Operation::Complete { choice } => {
                if let Some(index) = self.chosen(choice) {
                    self.complete(index, false);
                }
            }
            Operation::CompleteMore { choice, times } => {
                if let Some(index) = self.chosen(choice) {
                    (0..times).for_each(|_| self.complete(index, true));
                }
            }
            Operation::Churn { kind, owner, times } => {
                for _ in 0..times % 512 {
                    self.start(kind, owner);
                    self.complete(self.flying.len() - 1, false);
                }
            }
        }
    }
}

fn slot(id: OpId) -> usize {
    (id.user_data() & u64::from(u32::MAX)) as usize
}

/// A slot has one operation at a time and a new generation at each use; completions tell kind and
/// owner of their own operation; slots are as many as were ever in flight at once.
pub fn ops(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut pair = Pair::default();
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = input.arbitrary() else { break };
        pair.run(operation);
        assert_eq!(pair.slots.in_flight(), pair.flying.len());
    }
    while !pair.flying.is_empty() {
        pair.complete(pair.flying.len() - 1, false);
    }
    assert_eq!(pair.slots.in_flight(), 0);
}
