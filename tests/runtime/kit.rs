//! A core with a watchdog, peers that are blocking threads, and what must hold at the end.

use std::cell::RefCell;
use std::future::Future;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringfort::metrics::counter::WorkerCounters;
use ringfort::rt::core::{Core, CoreOptions};
use ringfort::rt::driver::Driver;
use ringfort::rt::inbox::{Inbox, Outbox, mailbox};
use ringfort::rt::stream::Stream;
use ringfort::rt::timer::TICK;
use ringfort::rt::uring::Uring;
use ringfort::sys::ring::{Bell, RingOptions};

/// After this a test is taken to hang.
const WATCHDOG: Duration = Duration::from_secs(40);

/// Descriptors are counted for the whole process, so who counts them must be alone.
static ALONE: RwLock<()> = RwLock::new(());

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

pub const OPTIONS: RingOptions = RingOptions {
    entries: 256,
    recv_buffers: 64,
    sqpoll_idle_ms: 0,
    napi_busy_poll_us: 0,
    zero_copy_send: false,
};

/// What other threads tell the core.
#[derive(Debug)]
pub enum Message {
    Number(u64),
    Hang,
}

pub struct World {
    pub core: Core,
    pub counters: Arc<WorkerCounters>,
    pub outbox: Arc<Outbox<Message>>,
    inbox: Inbox<Message>,
    watchdog: Option<(Sender<()>, JoinHandle<()>)>,
    _turn: Turn,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.watchdog.take() {
            drop(done);
            // It holds a descriptor, which must be gone when the next test counts them.
            let _ = thread.join();
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(&OPTIONS)
    }

    pub fn with(options: &RingOptions) -> Self {
        let guard = ALONE.read().unwrap_or_else(PoisonError::into_inner);
        Self::make(options, Turn::Shared { _guard: guard })
    }

    /// With no other test beside it.
    pub fn alone() -> Self {
        let guard = ALONE.write().unwrap_or_else(PoisonError::into_inner);
        Self::make(&OPTIONS, Turn::Alone { _guard: guard })
    }

    fn make(options: &RingOptions, turn: Turn) -> Self {
        let uring = Uring::new(options).expect("io_uring");
        let (inbox, outbox) = mailbox(uring.descriptor().expect("a descriptor"));
        let counters = WorkerCounters::new();
        let zero_copy_send = options.zero_copy_send;
        let options = CoreOptions { number: 0, zero_copy_send, tick: TICK };
        let core = Core::new(Driver::Uring(uring), &options, Arc::clone(&counters));
        let outbox = Arc::new(outbox);
        let (done, is_done) = channel();
        let barks = Arc::clone(&outbox);
        let thread = thread::spawn(move || {
            if is_done.recv_timeout(WATCHDOG) == Err(RecvTimeoutError::Timeout) {
                let mut bell = Bell::new().expect("a ring");
                // The test may end at this moment.
                let _ = barks.send(Message::Hang, &mut bell);
            }
        });
        let watchdog = Some((done, thread));
        Self { core, counters, outbox, inbox, watchdog, _turn: turn }
    }

    /// Turns the loop until `finished`.
    pub fn run(&self, mut handle: impl FnMut(u64), finished: impl FnMut() -> bool) {
        let handle = |message| match message {
            Message::Number(number) => handle(number),
            Message::Hang => panic!("this hangs: {:?}", self.counters.snapshot()),
        };
        self.core.run(&self.inbox, handle, finished).expect("a ring that works");
    }

    /// Runs `future` as a task to its end.
    pub fn complete<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        self.core.spawn(async move {
            let output = future.await;
            *slot.borrow_mut() = Some(output);
        });
        self.run(|_| {}, || result.borrow().is_some());
        result.take().expect("finished")
    }

    /// Turns until nothing is left, and checks that nothing is.
    pub fn settle(&self) {
        self.run(|_| {}, || self.core.is_idle());
        assert_eq!(self.counters.sockets_live.get(), 0);
        assert_eq!(self.counters.cq_overflows.get(), 0);
    }

    /// Waits `time` with the core turning.
    pub fn pass(&self, time: Duration) {
        let core = self.core.clone();
        let until = core.clock() + time;
        self.complete(async move { core.sleep_until(until).await });
    }

    /// A connection from a core's stream to a blocking peer.
    pub fn connected(&self) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stream = self.connect(listener.local_addr().expect("an address"));
        (stream, listener.accept().expect("a client").0)
    }

    pub fn connect(&self, address: SocketAddr) -> Stream {
        let core = self.core.clone();
        self.complete(async move { core.connect(address.into(), None).await }).expect("a listener")
    }
}

/// Numbered bytes, so that a loss or a repetition shows.
pub fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + at / 253) as u8).collect()
}

/// Receives until FIN.
pub async fn receive_all(stream: &Stream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(received) = stream.recv().await.expect("no reset") {
        all.extend_from_slice(&received);
    }
    all
}

pub fn listener(backlog: u32) -> (OwnedFd, SocketAddr) {
    let options = ringfort::sys::sockopt::SocketOptions {
        dual_stack: false,
        backlog,
        keepalive: None,
        user_timeout: None,
        send_buffer_bytes: None,
        recv_buffer_bytes: None,
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = ringfort::sys::sockopt::listen(any, &options).expect("a free port");
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().expect("an address");
    (listener.into(), address)
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}
