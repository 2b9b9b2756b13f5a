//! A waker that remembers that it was used: whether a task waits for its client, or for the server.
//!
//! It must not know the gate. Invariant: whoever wakes it wakes the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Watch {
    task: Waker,
    is_woken: AtomicBool,
}

impl Watch {
    /// One of this task that was not woken yet: the one that is there, or a new one.
    pub(super) fn renew(watch: &mut Option<Arc<Self>>, task: &Waker) -> Arc<Self> {
        match watch {
            Some(watch) if watch.task.will_wake(task) => {
                watch.is_woken.store(false, Ordering::Relaxed);
                Arc::clone(watch)
            }
            _ => {
                let new = Arc::new(Self { task: task.clone(), is_woken: AtomicBool::new(false) });
                Arc::clone(watch.insert(new))
            }
        }
    }

    /// Whether the task was woken since, so that it waits for nobody but the server.
    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed)
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}
