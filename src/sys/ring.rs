//! One io_uring: set-up and probe, submission, waiting, completions.
//!
//! Invariant: memory lent to the kernel (bytes to send, addresses) is held here, in the slot that
//! the low half of the user data names, until the operation's terminal completion. So the kernel
//! never reads freed memory, whatever the callers do.
//!
//! Must not know: sockets' states, tasks, policy.

use std::collections::VecDeque;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{Fd, Napi, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, Probe, SubmissionQueue, Submitter};
use io_uring::{cqueue, opcode, squeue};
use socket2::SockAddr;

use super::bufring::BufferPool;
use super::ops::{Completion, Op, Payload, SendBuf};
use crate::limits::{CQ_ENTRIES_PER_SQ_ENTRY, RECV_BUFFER_BYTES};

/// The user data of the completion that another ring's message makes (see [`Bell`]). It names no
/// slot.
pub const WAKE_USER_DATA: u64 = u64::MAX;

/// The only buffer group.
const BUFFER_GROUP: u16 = 0;

/// How to set up a ring.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Submission queue entries.
    pub entries: u32,
    /// Receive buffers; a power of two.
    pub recv_buffers: u16,
    /// Milliseconds after which an idle kernel submission thread sleeps; 0: no such thread.
    pub sqpoll_idle_ms: u32,
    /// Microseconds of NAPI busy polling in each wait; 0: none.
    pub napi_busy_poll_us: u32,
    /// Whether zero-copy sends will be used, so that their absence is found at start.
    pub zero_copy_send: bool,
}

/// Why there is no ring; the text is for the operator.
#[derive(Debug)]
pub enum SetupError {
    /// io_uring_setup(2) failed.
    Setup(io::Error),
    /// The kernel has io_uring, but lacks this.
    Lacks(&'static str),
    /// The named registration failed.
    Register(&'static str, io::Error),
    /// No memory for the receive buffers.
    Buffers(io::Error),
}

impl std::fmt::Display for SetupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kernel = rustix::system::uname();
        let release = kernel.release().to_string_lossy();
        match self {
            Self::Setup(error) => {
                let cause = match error.raw_os_error() {
                    Some(libc::ENOSYS) => {
                        "the kernel is built without io_uring, or a container's seccomp profile \
                         hides it: allow io_uring_setup, io_uring_enter and io_uring_register"
                    }
                    Some(libc::EPERM) => {
                        "it is forbidden: set the sysctl kernel.io_uring_disabled to 0, or allow \
                         io_uring in the container's seccomp profile"
                    }
                    Some(libc::EINVAL) => "this kernel is too old: Linux 6.6 or later is needed",
                    Some(libc::ENOMEM) => {
                        "there is no memory for it: lower ring.entries or raise RLIMIT_MEMLOCK"
                    }
                    _ => "see io_uring_setup(2)",
                };
                write!(f, "io_uring cannot be used on kernel {release}: {error}; {cause}")
            }
            Self::Lacks(what) => write!(
                f,
                "io_uring on kernel {release} lacks {what}: Linux 6.6 or later is needed, and a \
                 container's seccomp profile must not restrict io_uring"
            ),
            Self::Register(what, error) => {
                write!(f, "io_uring on kernel {release} refuses {what}: {error}")
            }
            Self::Buffers(error) => write!(
                f,
                "no memory for the receive buffers: {error}; lower ring.recv_buffers \
                 ({RECV_BUFFER_BYTES} bytes each)"
            ),
        }
    }
}

impl std::error::Error for SetupError {}

/// What is lent to the kernel, or will come from it, in one slot.
#[derive(Debug)]
enum Held {
    Accept,
    Receive,
    Send(SendBuf),
    Connect { _address: Box<SockAddr> },
    Plain,
}

/// Whether [`Ring::enter`] may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Submit, take what is there.
    No,
    /// Sleep until a completion.
    Forever,
    /// Sleep until a completion, at most so long.
    AtMost(Duration),
}

/// An io_uring with its receive buffers.
pub struct Ring {
    // Borrowed from `*uring`; `register_ring_fd` is remembered by this Submitter only, which is
    // why the parts are kept for life.
    submitter: ManuallyDrop<Submitter<'static>>,
    submissions: ManuallyDrop<SubmissionQueue<'static>>,
    completions: ManuallyDrop<CompletionQueue<'static>>,
    uring: NonNull<IoUring>,
    buffers: Rc<BufferPool>,
    held: Vec<Option<Held>>,
    backlog: VecDeque<squeue::Entry>,
    enters: u64,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("enters", &self.enters).finish_non_exhaustive()
    }
}

impl Ring {
    /// Sets a ring up for the calling thread, which must be the one that uses it.
    ///
    /// # Errors
    /// [`SetupError`], whose text is one sentence for the operator.
    pub fn new(options: &RingOptions) -> Result<Self, SetupError> {
        let uring = build(options).map_err(SetupError::Setup)?;
        require_features(&uring, options)?;
        let buffers = BufferPool::new(options.recv_buffers, RECV_BUFFER_BYTES)
            .map_err(SetupError::Buffers)?;
        let uring = NonNull::from(Box::leak(Box::new(uring)));
        // SAFETY: the box was leaked just now; nothing else refers to it, and it is freed in
        // `drop` only, after the parts.
        let (submitter, submissions, completions) = unsafe { &mut *uring.as_ptr() }.split();
        let mut ring = Self {
            submitter: ManuallyDrop::new(submitter),
            submissions: ManuallyDrop::new(submissions),
            completions: ManuallyDrop::new(completions),
            uring,
            buffers,
            held: Vec::new(),
            backlog: VecDeque::new(),
            enters: 0,
        };
        ring.register(options)?;
        Ok(ring)
    }

    fn register(&mut self, options: &RingOptions) -> Result<(), SetupError> {
        self.submitter
            .register_ring_fd()
            .map_err(|error| SetupError::Register("registering its own descriptor", error))?;
        let (address, entries) = self.buffers.registration();
        // SAFETY: the address is that of a live mapping of `entries` entries, which outlives the
        // registration: `drop` unregisters before the pool goes, and lent buffers keep the pool.
        unsafe { self.submitter.register_buf_ring_with_flags(address, entries, BUFFER_GROUP, 0) }
            .map_err(|error| SetupError::Register("a ring of receive buffers", error))?;
        if options.napi_busy_poll_us > 0 {
            let mut napi = Napi::new()
                .set_busy_poll_timeout(options.napi_busy_poll_us)
                .set_prefer_busy_poll(true);
            self.submitter.register_napi(&mut napi).map_err(|error| {
                SetupError::Register("NAPI busy polling (ring.napi_busy_poll_us)", error)
            })?;
        }
        Ok(())
    }

    /// The pool of receive buffers.
    pub fn buffers(&self) -> &Rc<BufferPool> {
        &self.buffers
    }

    /// Calls of io_uring_enter(2) so far.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// Completions that the kernel could not post in time and dropped; must stay 0.
    pub fn overflows(&self) -> u32 {
        self.completions.overflow()
    }

    /// A second descriptor of this ring, for [`Bell::ring`].
    ///
    /// # Errors
    /// What dup(2) reports.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the IoUring lives until `drop`.
        let uring = unsafe { self.uring.as_ref() };
        // SAFETY: the descriptor belongs to `uring`, which stays open during this call.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(uring.as_raw_fd()) };
        borrowed.as_fd().try_clone_to_owned()
    }

    /// Queues `op`. It reaches the kernel with the next [`Ring::enter`].
    ///
    /// The low 32 bits of `user_data` name a slot, which must be vacant.
    pub fn push(&mut self, user_data: u64, op: Op) {
        let slot = slot_of(user_data);
        if self.held.len() <= slot {
            self.held.resize_with(slot + 1, || None);
        }
        assert!(self.held[slot].is_none(), "a slot holds one operation at a time");
        let (entry, held) = prepare(op);
        self.held[slot] = Some(held);
        let entry = entry.user_data(user_data);
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry points to was moved into `held` (its heap address is stable),
        // where it stays until the terminal completion of this entry.
        unsafe { self.submissions.push(entry) }.is_ok()
    }

    fn push_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                break;
            }
        }
    }

    /// Submits what is queued and runs the kernel's deferred work; sleeps as `wait` says.
    ///
    /// # Errors
    /// Errors that mean that the ring is beyond use. Time-outs, signals and a completion queue
    /// that must be drained first are not errors.
    pub fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.push_backlog();
        self.submissions.sync();
        // More than fits was queued: submit this much, and come back for the rest at once.
        let wait = if self.backlog.is_empty() { wait } else { Wait::No };
        self.enters += 1;
        let entered = match wait {
            Wait::No => self.submitter.submit(),
            Wait::Forever => self.submitter.submit_and_wait(1),
            Wait::AtMost(time) => {
                let timespec = Timespec::from(time);
                let args = SubmitArgs::new().timespec(&timespec);
                self.submitter.submit_with_args(1, &args)
            }
        };
        self.submissions.sync();
        self.completions.sync();
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next completion, if one is there.
    pub fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        Some(self.translate(&entry))
    }

    fn translate(&mut self, entry: &cqueue::Entry) -> Completion {
        let user_data = entry.user_data();
        let flags = entry.flags();
        let more = cqueue::more(flags);
        let result = u32::try_from(entry.result()).map_err(|_| -entry.result());
        let payload = if user_data == WAKE_USER_DATA {
            Payload::None
        } else {
            self.payload(slot_of(user_data), result, flags, more)
        };
        Completion { user_data, result, more, notification: cqueue::notif(flags), payload }
    }

    fn payload(
        &mut self,
        slot: usize,
        result: Result<u32, i32>,
        flags: u32,
        more: bool,
    ) -> Payload {
        // invariant: the kernel completes only what `push` submitted, which filled the slot.
        let held = self.held[slot].take().expect("a completion of a vacant slot");
        let payload = match (&held, result) {
            (Held::Accept, Ok(fd)) => {
                // SAFETY: accept(2) succeeded, so this is a descriptor that nobody else owns.
                let accepted = unsafe { OwnedFd::from_raw_fd(fd.cast_signed()) };
                Payload::Accepted(accepted.into())
            }
            (Held::Receive, Ok(filled)) => match cqueue::buffer_select(flags) {
                Some(id) => Payload::Received(self.buffers.lend(id, filled as usize)),
                None => Payload::None,
            },
            _ => Payload::None,
        };
        if more {
            self.held[slot] = Some(held);
            return payload;
        }
        match held {
            Held::Send(data) => Payload::Sent(data),
            _ => payload,
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.held.iter().any(Option::is_some) {
            // The kernel may still read what we hold. Leaking it is the only sound thing to do;
            // the runtime drains its ring first, so this is a worker that missed its deadline.
            mem::forget(mem::take(&mut self.held));
            mem::forget(Rc::clone(&self.buffers));
        } else {
            // Failing is harmless because nothing is in flight that would write to the buffers. The
            // ring itself may live on: an outbox holds a copy of its descriptor.
            let _ = self.submitter.unregister_buf_ring(BUFFER_GROUP);
        }
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.completions) };
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.submissions) };
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: `uring` came from Box::leak in `new`; the parts that borrowed it are gone.
        drop(unsafe { Box::from_raw(self.uring.as_ptr()) });
    }
}

/// Wakes other threads' rings by `MSG_RING`, from a thread that has no ring of its own.
pub struct Bell {
    uring: IoUring,
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    /// Sets up a small ring for the calling thread.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn new() -> Result<Self, SetupError> {
        Ok(Self { uring: IoUring::new(4).map_err(SetupError::Setup)? })
    }

    /// Posts a completion with [`WAKE_USER_DATA`] to the ring behind `target`.
    ///
    /// # Errors
    /// What the kernel reports: `EBADFD` where the ring is gone.
    pub fn ring(&mut self, target: &OwnedFd) -> io::Result<()> {
        let message = opcode::MsgRingData::new(Fd(target.as_raw_fd()), 0, WAKE_USER_DATA, None);
        let entry = message.build();
        // SAFETY: the entry refers to no memory.
        unsafe { self.uring.submission().push(&entry) }
            .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        match self.uring.submit_and_wait(1) {
            // A signal ends the wait; the message was on its way before.
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error),
            _ => {}
        }
        let failed = self.uring.completion().map(|entry| entry.result()).find(|&result| result < 0);
        failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(-errno)))
    }
}

fn slot_of(user_data: u64) -> usize {
    (user_data & u64::from(u32::MAX)) as usize
}

fn build(options: &RingOptions) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_no_sqarray()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(options.entries * CQ_ENTRIES_PER_SQ_ENTRY)
        .dontfork();
    if options.sqpoll_idle_ms > 0 {
        // The kernel's thread submits; deferred task work excludes it.
        builder.setup_sqpoll(options.sqpoll_idle_ms);
    } else {
        builder.setup_defer_taskrun().setup_taskrun_flag();
    }
    builder.build(options.entries)
}

fn require_features(uring: &IoUring, options: &RingOptions) -> Result<(), SetupError> {
    let params = uring.params();
    for (there, what) in [
        (params.is_feature_nodrop(), "lossless completion queues (NODROP)"),
        (params.is_feature_submit_stable(), "stable submissions (SUBMIT_STABLE)"),
        (params.is_feature_ext_arg(), "waiting with a time-out (EXT_ARG)"),
        (params.is_feature_fast_poll(), "polling of sockets (FAST_POLL)"),
    ] {
        if !there {
            return Err(SetupError::Lacks(what));
        }
    }
    let mut probe = Probe::new();
    uring
        .submitter()
        .register_probe(&mut probe)
        .map_err(|error| SetupError::Register("being probed", error))?;
    for (code, what) in [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::RecvMulti::CODE, "recv"),
        (opcode::Send::CODE, "send"),
        (opcode::Connect::CODE, "connect"),
        (opcode::AsyncCancel::CODE, "cancellation"),
        (opcode::Close::CODE, "close"),
        (opcode::MsgRingData::CODE, "messages between rings (MSG_RING)"),
    ] {
        if !probe.is_supported(code) {
            return Err(SetupError::Lacks(what));
        }
    }
    if options.zero_copy_send && !probe.is_supported(opcode::SendZc::CODE) {
        return Err(SetupError::Lacks("zero-copy send (ring.zero_copy_send)"));
    }
    Ok(())
}

fn prepare(op: Op) -> (squeue::Entry, Held) {
    match op {
        Op::AcceptMultishot { listener } => {
            let accept = opcode::AcceptMulti::new(Fd(listener)).flags(libc::SOCK_CLOEXEC);
            (accept.build(), Held::Accept)
        }
        Op::Accept { listener } => {
            let nowhere = std::ptr::null_mut();
            let accept = opcode::Accept::new(Fd(listener), nowhere, std::ptr::null_mut());
            (accept.flags(libc::SOCK_CLOEXEC).build(), Held::Accept)
        }
        Op::RecvMultishot { socket } => {
            (opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP).build(), Held::Receive)
        }
        Op::Send { socket, data, zero_copy } => {
            (prepare_send(socket, &data, zero_copy), Held::Send(data))
        }
        Op::Connect { socket, address } => {
            let connect = opcode::Connect::new(Fd(socket), address.as_ptr().cast(), address.len());
            (connect.build(), Held::Connect { _address: address })
        }
        Op::Cancel { target } => (opcode::AsyncCancel::new(target).build(), Held::Plain),
        Op::Close { fd } => (opcode::Close::new(Fd(fd.into_number())).build(), Held::Plain),
    }
}

fn prepare_send(socket: RawFd, data: &SendBuf, zero_copy: bool) -> squeue::Entry {
    let bytes = data.remaining();
    // A send takes a u32; the rest follows once this much is sent.
    let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    if zero_copy {
        opcode::SendZc::new(Fd(socket), bytes.as_ptr(), count).flags(flags).build()
    } else {
        opcode::Send::new(Fd(socket), bytes.as_ptr(), count).flags(flags).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(errno: i32) -> String {
        SetupError::Setup(io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn a_failed_setup_says_what_to_do_about_its_cause() {
        for (errno, fix) in [
            (libc::ENOSYS, "seccomp profile hides it: allow io_uring_setup, io_uring_enter and"),
            (libc::EPERM, "it is forbidden: set the sysctl kernel.io_uring_disabled to 0, or"),
            (libc::EINVAL, "this kernel is too old: Linux 6.6 or later is needed"),
            (libc::ENOMEM, "there is no memory for it: lower ring.entries or raise RLIMIT_MEMLOCK"),
            (libc::EMFILE, "see io_uring_setup(2)"),
        ] {
            let text = setup(errno);
            let error = io::Error::from_raw_os_error(errno).to_string();
            assert!(text.starts_with("io_uring cannot be used on kernel "), "{text}");
            assert!(text.contains(&format!(": {error}; ")), "{text}");
            assert!(text.contains(fix), "{text}");
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
    }

    #[test]
    fn what_is_lacking_or_refused_is_named_with_the_kernel() {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        assert_eq!(
            SetupError::Lacks("recv").to_string(),
            format!(
                "io_uring on kernel {release} lacks recv: Linux 6.6 or later is needed, and a \
                 container's seccomp profile must not restrict io_uring"
            )
        );
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(
            SetupError::Register("being probed", denied()).to_string(),
            format!("io_uring on kernel {release} refuses being probed: {}", denied())
        );
        let text = SetupError::Buffers(io::Error::from_raw_os_error(libc::ENOMEM)).to_string();
        assert!(text.contains("lower ring.recv_buffers (65536 bytes each)"), "{text}");
    }
}
