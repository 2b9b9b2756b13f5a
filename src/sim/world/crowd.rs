//! A worker on which very many clients are connected when a list of revocation comes.
//!
//! Leases alone: no bytes, no sockets. Invariant: time moves only by looks at the clock and by
//! waiting, so what counts is how many leases are judged before others have their turn.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rustls::time_provider::TimeProvider;

use super::World;
use crate::error::CloseKind;
use crate::limits::LEASE_SWEEP_MS_MAX;
use crate::proxy::leases::{Holder, Lease};
use crate::proxy::worker::{Message, Worker};
use crate::sim::demands::InForce;
use crate::sim::pki::{Client as Certificate, EPOCH_UNIX_S, Lists};
use crate::sim::plan::MS;
use crate::trust::verdict::{Verdict, judge};

/// What became of a crowd.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Clients that were revoked.
    pub revoked: usize,
    /// Of these, the ones whose connections were told to end in time.
    pub ended: usize,
    /// Clients that were told to end and should not have been.
    pub wronged: usize,
    /// From the list until the last one was told.
    pub took: Duration,
    /// The most leases that were judged before others had their turn.
    pub slice_max: usize,
    /// Leases that were judged because of the list.
    pub judged: usize,
}

/// One of so many clients is revoked.
const REVOKED_OF: usize = 10;

/// Connects `clients` clients to one worker and revokes some of them.
///
/// # Panics
/// Where a lease is not granted.
pub fn crowd(clients: usize) -> Crowd {
    let mut world = World::new(1, 0);
    world.net.borrow().faults.stop();
    world.set_wall_clock(0);
    // invariant: workers leave only when they have drained
    let worker = world.slots[0].worker.clone().expect("a worker");
    let verdicts = [Certificate::Allowed(0), Certificate::Allowed(1)].map(|it| verdict(&world, it));
    let is_revoked = |index: &usize| index.is_multiple_of(REVOKED_OF);
    let leases: Vec<Lease> = (0..clients)
        .map(|index| {
            let client = Some(Arc::clone(&verdicts[usize::from(is_revoked(&index))]));
            let holder = Holder { listener: 0, server_name: None, client };
            // invariant: the clients are those that the first demands allow
            worker.hold(holder).expect("the client is allowed")
        })
        .collect();
    let mut context = Context::from_waker(Waker::noop());
    leases.iter().for_each(|lease| assert_eq!(lease.ended(&context), None));
    go_on(&mut world, &worker, 0);
    let before = worker.judged();
    let began = world.net.borrow().now;
    let snapshot = world.revoke(Certificate::Allowed(1));
    world.post(0, Message::Publish(snapshot));
    let ended = |lease: &Lease, context: &mut Context<'_>| {
        lease.ended(context).map(|reason| reason.kind) == Some(CloseKind::Revoked)
    };
    let of_revoked: Vec<&Lease> = leases.iter().step_by(REVOKED_OF).collect();
    let by = began + LEASE_SWEEP_MS_MAX * MS;
    while !of_revoked.iter().all(|lease| ended(lease, &mut context)) && world.net.borrow().now < by
    {
        go_on(&mut world, &worker, by);
    }
    let judged = worker.judged();
    let others = leases.iter().enumerate().filter(|(index, _)| !is_revoked(index));
    Crowd {
        revoked: of_revoked.len(),
        ended: of_revoked.iter().filter(|lease| ended(lease, &mut context)).count(),
        wronged: others.filter(|(_, lease)| lease.ended(&context).is_some()).count(),
        took: Duration::from_nanos(world.net.borrow().now - began),
        slice_max: judged.1,
        judged: judged.0 - before.0,
    }
}

/// One turn, and where the worker then waits, time until it has something to do, but not beyond
/// `until`.
fn go_on(world: &mut World, worker: &Rc<Worker>, until: u64) {
    worker.wake();
    // invariant: the simulated driver is never beyond use.
    worker.turn(&world.slots[0].inbox).expect("the driver works");
    let mut net = world.net.borrow();
    if let Some(at) = net.wait_until(0) {
        net.now = at.min(until).max(net.now);
    }
}

fn verdict(world: &World, certificate: Certificate) -> Arc<Verdict> {
    let (snapshot, _) = world.configurations.current();
    let scope = &snapshot.listeners[0].scopes.default;
    // invariant: the first listener demands a certificate, and these clients have one
    let verifier = scope.verifier().expect("a verifier");
    // invariant: these clients have a certificate
    let chain = world.pki.client(certificate).expect("a certificate").chain;
    // invariant: the clock shows a time after 1970
    let now = world.clock.current_time().expect("a time");
    // invariant: the chains of allowed clients are in order at the beginning
    Arc::new(judge(scope, verifier, &chain[0], &chain[1..], now).expect("a chain in order"))
}

impl World {
    fn revoke(&mut self, client: Certificate) -> Arc<crate::config::snapshot::Snapshot> {
        let lists = Lists {
            number: 1,
            this_update: EPOCH_UNIX_S,
            next_update: EPOCH_UNIX_S + 3600,
            revoked: vec![client],
            lacks_issuing: false,
        };
        let in_force = InForce { lists: Some(Arc::new(lists)), ..InForce::wide() };
        self.configurations.publish(in_force).0
    }
}
