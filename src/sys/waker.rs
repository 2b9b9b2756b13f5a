//! Wakers without allocation or reference counts: the waker is a number.
//!
//! The data pointer of a `RawWaker` carries a token chosen by the runtime; waking hands the token
//! back. Nothing is ever dereferenced, so clone and drop are free, and a stale waker is at worst
//! a spurious wake-up.

use std::marker::PhantomData;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// What to do when a waker made by [`token_waker`] is woken.
///
/// `wake` may be called from any thread, for any token ever passed to [`token_waker`].
pub trait WakeToken {
    /// Makes the owner of `token` run again.
    fn wake(token: usize);
}

/// A waker that calls `W::wake(token)`.
pub fn token_waker<W: WakeToken>(token: usize) -> Waker {
    let raw = raw::<W>(ptr::without_provenance(token));
    // SAFETY: the contract of RawWaker holds: the functions of the table do not dereference the
    // data, share no state with each other, and W::wake is callable from every thread.
    unsafe { Waker::from_raw(raw) }
}

struct Table<W>(PhantomData<W>);

impl<W: WakeToken> Table<W> {
    const TABLE: &'static RawWakerVTable =
        &RawWakerVTable::new(raw::<W>, wake::<W>, wake::<W>, drop_nothing);
}

fn raw<W: WakeToken>(token: *const ()) -> RawWaker {
    RawWaker::new(token, Table::<W>::TABLE)
}

fn wake<W: WakeToken>(token: *const ()) {
    W::wake(token.addr());
}

fn drop_nothing(_token: *const ()) {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static WOKEN: Cell<usize> = const { Cell::new(0) });

    struct Record;
    impl WakeToken for Record {
        fn wake(token: usize) {
            WOKEN.set(token);
        }
    }

    #[test]
    fn the_token_comes_back_on_wake_from_a_clone_too() {
        let waker = token_waker::<Record>(0xfeed_0000_0000_0001);
        waker.wake_by_ref();
        assert_eq!(WOKEN.replace(0), 0xfeed_0000_0000_0001);
        let clone = waker.clone();
        drop(waker);
        clone.wake();
        assert_eq!(WOKEN.get(), 0xfeed_0000_0000_0001);
        let token = 0xfeed_0000_0000_0001;
        assert!(token_waker::<Record>(token).will_wake(&token_waker::<Record>(token)));
    }
}
