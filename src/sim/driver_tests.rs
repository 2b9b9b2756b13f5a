//! The runtime alone on the simulated driver, without TLS: what Miri can run.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::Sim;
use crate::metrics::counter::WorkerCounters;
use crate::rt::audit::Audit;
use crate::rt::core::{Core, CoreOptions};
use crate::rt::driver::Driver;
use crate::rt::inbox;
use crate::rt::listen::Listener;
use crate::rt::stream::{Errno, Stream};
use crate::rt::timer::TICK;
use crate::sim::faults::Faults;
use crate::sim::ledger;
use crate::sim::net::{Inner, Net, Owner, Read, Shape};
use crate::sim::random::Random;
use crate::sim::trace::Trace;
use crate::sys::descriptor::{self, Descriptor};

/// Miri takes some hundred times as long.
const SEEDS: u64 = if cfg!(miri) { 3 } else { 100 };
const CLIENTS: u32 = 4;
const BYTES: usize = if cfg!(miri) { 1_500 } else { 40_000 };
const SERVER: &str = "10.0.0.1:7";

struct Client {
    socket: i32,
    sent: usize,
    echoed: Vec<u8>,
    is_over: bool,
}

impl Client {
    fn step(&mut self, net: &mut Inner) {
        match net.connected(self.socket) {
            None => return,
            Some(Err(_)) => return self.close(net),
            Some(Ok(())) => {}
        }
        if self.sent < BYTES {
            let rest = ledger::stream(self.socket as u64, self.sent as u64, BYTES - self.sent);
            match net.write(self.socket, &rest) {
                Ok(count) => self.sent += count,
                Err(_) => return self.close(net),
            }
            if self.sent == BYTES {
                net.shut_write(self.socket);
            }
        }
        loop {
            match net.read(self.socket, &mut self.echoed, BYTES) {
                Read::Bytes(_) => {}
                Read::Nothing => return,
                Read::End => {
                    assert_eq!(self.echoed.len(), BYTES, "an orderly end comes after all bytes");
                    return self.close(net);
                }
                Read::Failed(_) => return self.close(net),
            }
        }
    }

    fn close(&mut self, net: &mut Inner) {
        let sent = ledger::stream(self.socket as u64, 0, self.echoed.len());
        assert_eq!(self.echoed, sent, "what comes back is what was sent");
        net.close(self.socket);
        self.is_over = true;
    }
}

async fn echo(stream: Stream) {
    let echoed = async {
        while let Some(bytes) = stream.recv().await? {
            stream.append(&bytes);
            drop(bytes);
            stream.flush();
            poll_fn(|cx| stream.poll_writable(cx)).await?;
        }
        Ok::<(), Errno>(())
    };
    if echoed.await.is_ok() {
        stream.close();
    }
}

async fn accept(core: Core, listener: Listener, stop: Rc<Cell<bool>>) {
    loop {
        let next = poll_fn(|cx| match stop.get() {
            true => Poll::Ready(None),
            false => listener.poll_accept(cx, true).map(Some),
        });
        let Some(stream) = next.await else { break };
        core.spawn(echo(stream));
    }
}

/// The clients of one run; returns how many got all their bytes back.
fn run(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let faults = Faults::swarm(&mut random, true);
    let net = Net::new(Shape::GENTLE, faults, Trace::keeping(20), &mut random, 1);
    let sim = Sim::new(net.clone(), 0, 8, 1024).expect("memory");
    let options = CoreOptions { number: 0, zero_copy_send: seed.is_multiple_of(2), tick: TICK };
    let core = Core::new(Driver::Sim(Box::new(sim)), &options, WorkerCounters::new());
    let listening = net.borrow().listen(SERVER, Owner::Worker(0), 16);
    let stop = Rc::new(Cell::new(false));
    let listener = core.listen(Descriptor::simulated(listening));
    core.spawn(accept(core.clone(), listener, Rc::clone(&stop)));
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|actor| {
            let mut net = net.borrow();
            let socket = net.new_socket(Owner::Actor(actor), "10.1.0.1:1", SERVER);
            net.connect(socket);
            Client { socket, sent: 0, echoed: Vec::new(), is_over: false }
        })
        .collect();
    let (inbox, _sender) = inbox::queue::<()>();
    for step in 0.. {
        assert!(step < 200_000, "seed {seed} has no end");
        net.borrow().run_due();
        for client in clients.iter_mut().filter(|client| !client.is_over) {
            client.step(&mut net.borrow());
        }
        if clients.iter().all(|client| client.is_over) && !stop.replace(true) {
            core.wake_all();
            core.hurry_closing();
        }
        core.wake();
        let over = core.turn(&inbox, |()| {}, || stop.get() && core.is_idle()).expect("a driver");
        if over {
            break;
        }
        let mut net = net.borrow();
        let woken = !net.take_woken_workers().is_empty();
        let wait = if woken { Some(net.now) } else { net.wait_until(0) };
        let next = wait.into_iter().chain(net.next_event_at()).min();
        net.now = next.map_or(net.now, |at| at.max(net.now));
        if step > 2_000 {
            net.faults.stop();
        }
    }
    assert_eq!(core.audit(), Audit::default(), "seed {seed}: nothing is left");
    drop(core);
    let mut net = net.borrow();
    for number in descriptor::dropped(|number| net.is_open(number, 0)) {
        net.close(number);
    }
    assert_eq!(net.open_files(0), 0, "seed {seed}: no descriptor is left");
    assert_eq!(net.trace.violations(), [""; 0], "seed {seed}");
    clients.iter().filter(|client| client.echoed.len() == BYTES).count()
}

#[test]
fn the_runtime_echoes_under_faults_and_leaves_nothing() {
    let echoed: usize = (1..=SEEDS).map(run).sum();
    assert!(echoed > SEEDS as usize, "{echoed} clients got all their bytes back");
}
