//! The single-threaded executor: a slab of tasks and two queues of those that are ready.
//!
//! Wakers are numbers (core, generation, slot), so waking allocates nothing and a stale waker does
//! nothing. Invariant: a task is in one ready queue at most, and there once. Which of the queues
//! gets how much time is its caller's decision.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use slab::Slab;

use crate::sys::waker::{WakeToken, token_waker};

const SLOT_BITS: u32 = 32;
const GENERATION_BITS: u32 = 24;
const CORES_MAX: usize = 1 << (usize::BITS - SLOT_BITS - GENERATION_BITS);

const _: () = assert!(usize::BITS == 64, "a waker's token needs 64 bits");
const _: () = assert!(crate::limits::WORKERS_MAX <= CORES_MAX);

thread_local! {
    /// Ready queues of the cores that live on this thread: one, but for simulations.
    static READY: RefCell<Vec<ReadyQueue>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
struct ReadyQueue {
    /// By class.
    tasks: [VecDeque<u32>; 2],
    slots: Vec<Slot>,
}

/// What is known of the task in a slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    /// Whether it is in a queue.
    queued: bool,
    class: Class,
}

/// Which of the two queues a task waits in when it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Many short polls that somebody waits for.
    Urgent,
    /// Polls that may be long, and that strangers cause: they get a share of the time.
    Costly,
}

/// A task's name: generation and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId {
    generation: u32,
    slot: u32,
}

struct ReadyToken;

impl WakeToken for ReadyToken {
    fn wake(token: usize) {
        let slot = (token & u32::MAX as usize) as u32;
        let generation = (token >> SLOT_BITS) as u32 & ((1 << GENERATION_BITS) - 1);
        let core = token >> (SLOT_BITS + GENERATION_BITS);
        READY.with_borrow_mut(|queues| {
            // invariant: wakers stay on the thread of their core; nothing in the data plane is
            // shared between threads, and other threads speak to a core through its inbox.
            let queue = queues.get_mut(core).expect("a task was woken from a foreign thread");
            queue.push(TaskId { generation, slot });
        });
    }
}

impl ReadyQueue {
    fn push(&mut self, task: TaskId) {
        if let Some(slot) = self.slots.get_mut(task.slot as usize)
            && slot.generation == task.generation
            && !slot.queued
        {
            slot.queued = true;
            self.tasks[slot.class as usize].push_back(task.slot);
        }
    }
}

type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

/// See the module's description.
pub struct Executor {
    core: usize,
    /// `None` while the task is being polled.
    tasks: RefCell<Slab<Option<BoxedTask>>>,
    /// The task that is being polled.
    polled: Cell<Option<u32>>,
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("core", &self.core).finish_non_exhaustive()
    }
}

impl Executor {
    /// The executor of core number `core` on the calling thread, which it must not leave.
    pub fn new(core: usize) -> Self {
        assert!(core < CORES_MAX);
        READY.with_borrow_mut(|queues| {
            if queues.len() <= core {
                queues.resize_with(core + 1, ReadyQueue::default);
            }
        });
        Self { core, tasks: RefCell::default(), polled: Cell::new(None) }
    }

    /// Adds a task; it is polled for the first time when its class gets time.
    pub fn spawn(&self, class: Class, future: impl Future<Output = ()> + 'static) -> TaskId {
        let slot = self.tasks.borrow_mut().insert(Some(Box::pin(future)));
        // invariant: descriptors bound the tasks far below 2^32.
        let slot = u32::try_from(slot).expect("fewer than 2^32 tasks");
        self.with_ready(|queue| {
            if queue.slots.len() <= slot as usize {
                let unused = Slot { generation: 0, queued: false, class };
                queue.slots.resize(slot as usize + 1, unused);
            }
            let state = &mut queue.slots[slot as usize];
            state.class = class;
            let task = TaskId { generation: state.generation, slot };
            queue.push(task);
            task
        })
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Whether a task of this class is ready.
    pub fn has_ready(&self, class: Class) -> bool {
        self.with_ready(|queue| !queue.tasks[class as usize].is_empty())
    }

    /// Puts the task that is being polled into a class, from when it is next woken.
    pub fn reclassify(&self, class: Class) {
        if let Some(slot) = self.polled.get() {
            self.with_ready(|queue| queue.slots[slot as usize].class = class);
        }
    }

    /// Makes every task ready; for changes that concern all of them.
    pub fn wake_all(&self) {
        let tasks = self.tasks.borrow();
        self.with_ready(|queue| {
            for (slot, _) in tasks.iter() {
                let generation = queue.slots[slot].generation;
                // invariant: `spawn` made sure that slots fit.
                queue.push(TaskId { generation, slot: slot as u32 });
            }
        });
    }

    /// Polls ready tasks of a class, those woken meanwhile too, until there is none or `is_enough`
    /// says so, which is asked after each. Returns whether there was any.
    pub fn run(&self, class: Class, mut is_enough: impl FnMut() -> bool) -> bool {
        let mut any = false;
        while let Some(task) = self.next_ready(class) {
            any = true;
            self.polled.set(Some(task.slot));
            self.poll(task);
            self.polled.set(None);
            if is_enough() {
                break;
            }
        }
        any
    }

    fn next_ready(&self, class: Class) -> Option<TaskId> {
        self.with_ready(|queue| {
            let slot = queue.tasks[class as usize].pop_front()?;
            let state = &mut queue.slots[slot as usize];
            state.queued = false;
            Some(TaskId { generation: state.generation, slot })
        })
    }

    fn poll(&self, task: TaskId) {
        let taken = self.tasks.borrow_mut().get_mut(task.slot as usize).and_then(Option::take);
        let Some(mut future) = taken else { return };
        let waker = self.waker(task);
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[task.slot as usize] = Some(future);
            return;
        }
        // Dropped before the slot is free, and with no borrow held: its drop may spawn or wake.
        drop(future);
        self.with_ready(|queue| {
            let generation = &mut queue.slots[task.slot as usize].generation;
            *generation = generation.wrapping_add(1) & ((1 << GENERATION_BITS) - 1);
        });
        self.tasks.borrow_mut().remove(task.slot as usize);
    }

    fn waker(&self, task: TaskId) -> Waker {
        let token = self.core << (SLOT_BITS + GENERATION_BITS)
            | (task.generation as usize) << SLOT_BITS
            | task.slot as usize;
        token_waker::<ReadyToken>(token)
    }

    fn with_ready<R>(&self, act: impl FnOnce(&mut ReadyQueue) -> R) -> R {
        READY.with_borrow_mut(|queues| act(&mut queues[self.core]))
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks that are still there drop what they own; their wakers must find a queue, and what
        // they start then a table that is not borrowed.
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
        self.with_ready(|queue| *queue = ReadyQueue::default());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::Poll;

    use super::*;

    #[test]
    fn a_task_runs_until_it_ends_and_its_stale_waker_wakes_nobody() {
        let executor = Executor::new(0);
        let polls = Rc::new(Cell::new(0));
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let (count, keep) = (Rc::clone(&polls), Rc::clone(&kept));
        executor.spawn(
            Class::Urgent,
            std::future::poll_fn(move |cx| {
                count.set(count.get() + 1);
                *keep.borrow_mut() = Some(cx.waker().clone());
                if count.get() < 3 { Poll::Pending } else { Poll::Ready(()) }
            }),
        );
        executor.run(Class::Urgent, || false);
        assert_eq!(polls.get(), 1, "not polled again before it is woken");
        for _ in 0..2 {
            let waker = kept.borrow_mut().take().expect("kept by the poll");
            waker.wake_by_ref();
            waker.wake();
            executor.run(Class::Urgent, || false);
        }
        assert_eq!((polls.get(), executor.tasks()), (3, 0));
        executor.spawn(Class::Urgent, std::future::pending());
        executor.run(Class::Urgent, || false);
        kept.borrow_mut().take().expect("kept by the last poll").wake();
        assert!(!executor.has_ready(Class::Urgent), "the slot has a new generation");
    }

    #[test]
    fn a_task_that_wakes_itself_cannot_starve_the_loop() {
        let executor = Executor::new(1);
        let polls = Rc::new(Cell::new(0));
        let count = Rc::clone(&polls);
        executor.spawn(
            Class::Urgent,
            std::future::poll_fn(move |cx| {
                count.set(count.get() + 1);
                cx.waker().wake_by_ref();
                Poll::Pending
            }),
        );
        executor.run(Class::Urgent, || polls.get() == 5);
        assert_eq!(polls.get(), 5);
        assert!(executor.has_ready(Class::Urgent));
    }

    #[test]
    fn each_class_runs_by_itself_and_a_task_may_change_its_own() {
        let executor = Executor::new(2);
        let polls = Rc::new(Cell::new(0));
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let (count, keep) = (Rc::clone(&polls), Rc::clone(&kept));
        let executor = Rc::new(executor);
        let own = Rc::downgrade(&executor);
        let task = std::future::poll_fn(move |cx| {
            count.set(count.get() + 1);
            *keep.borrow_mut() = Some(cx.waker().clone());
            own.upgrade().expect("it polls").reclassify(Class::Urgent);
            Poll::Pending
        });
        executor.spawn(Class::Costly, task);
        assert!(!executor.run(Class::Urgent, || false) && executor.has_ready(Class::Costly));
        assert!(executor.run(Class::Costly, || false));
        kept.borrow_mut().take().expect("kept by the poll").wake();
        assert!(!executor.run(Class::Costly, || false), "it left that class");
        assert!(executor.run(Class::Urgent, || false));
        assert_eq!(polls.get(), 2);
        // Nobody is being polled: nobody changes.
        executor.reclassify(Class::Costly);
        executor.wake_all();
        assert!(executor.has_ready(Class::Urgent) && !executor.has_ready(Class::Costly));
    }

    #[test]
    fn a_slot_that_is_used_again_has_the_class_of_its_new_task() {
        let executor = Executor::new(3);
        executor.spawn(Class::Costly, std::future::ready(()));
        executor.run(Class::Costly, || false);
        executor.spawn(Class::Urgent, std::future::pending());
        assert!(executor.has_ready(Class::Urgent) && !executor.has_ready(Class::Costly));
    }
}
