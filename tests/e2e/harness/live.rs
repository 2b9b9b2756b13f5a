//! A gateway in this process, whose configuration a test changes while clients are connected.
//!
//! It is started, and told of changes, as the control thread does it; everything else is observed
//! from outside, through its log and its sockets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use ringfort::control::load::{Configuration, load};
use ringfort::control::supervisor;
use ringfort::metrics::counter::CounterSnapshot;
use ringfort::trust::scope::Scope;
use ringfort::{CloseKind, config::snapshot::Snapshot};
use serde_json::Value;

use super::{LOOK_AGAIN, PATIENCE, Setup, temp_dir};

/// It is cut off when it is dropped.
pub(crate) struct Live {
    gateway: supervisor::Gateway,
    address: SocketAddr,
    log: PathBuf,
}

impl Live {
    /// Starts a gateway with one worker; all of its configurations have the address of the first.
    pub(crate) fn start(setup: &Setup) -> Self {
        let log = temp_dir().join("ringfort.log");
        let gateway = supervisor::Gateway::start(snapshot(setup, &log)).expect("it starts");
        Self { gateway, address: setup.address, log }
    }

    /// The address of its first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes its configuration; returns when that was.
    pub(crate) fn publish(&mut self, setup: &Setup) -> Instant {
        let snapshot = snapshot(setup, &self.log);
        let addresses: Vec<_> = snapshot.listeners.iter().map(|it| it.address).collect();
        assert_eq!(addresses, self.gateway.addresses(), "a change of addresses is no reload");
        let at = Instant::now();
        self.gateway.publish(snapshot);
        at
    }

    /// What its first listener demands now of clients that name no server.
    pub(crate) fn scope(&self) -> Weak<Scope> {
        Arc::downgrade(&self.gateway.snapshot().listeners[0].scopes.default)
    }

    /// Frees what earlier configurations had and nobody uses any more.
    pub(crate) fn free_retired(&mut self) {
        self.gateway.free_retired();
    }

    /// The sum of all workers' counters.
    pub(crate) fn counters(&self) -> CounterSnapshot {
        self.gateway.counters()
    }

    /// The record of the connection from this address, once it has ended.
    pub(crate) fn record_of(&mut self, peer: SocketAddr) -> Value {
        let peer = peer.to_string();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let record = self.records().into_iter().rev().find(|record| record["peer"] == peer);
            if let Some(record) = record {
                return record;
            }
            assert!(Instant::now() < deadline, "no record of {peer}: {:#?}", self.records());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The records of all connections that have ended.
    pub(crate) fn records(&mut self) -> Vec<Value> {
        self.gateway.write_log();
        let text = std::fs::read_to_string(&self.log).expect("it has a log");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.filter(|line: &Value| line["event"] == "connection").collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.gateway.cut_off(CloseKind::Stopped);
        let errors = self.gateway.join();
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

fn snapshot(setup: &Setup, log: &Path) -> Snapshot {
    let file = setup.write_with(&format!("workers = 1\n[log]\ntarget = {log:?}\n"));
    load(&Configuration::File(file)).unwrap_or_else(|errors| panic!("{errors:#?}")).snapshot
}
