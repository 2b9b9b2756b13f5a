//! Resolves the upstreams' names again and again, on a thread of its own: a resolver that hangs
//! must delay neither the log nor a signal.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::load::resolve_names;
use crate::config::snapshot::Cluster;

/// The clusters after a resolution that changed at least one of them.
pub type Resolved = Vec<Arc<Cluster>>;

/// See the module's description. Dropping it ends the thread when it next wakes.
#[derive(Debug)]
pub struct Resolver {
    changes: Receiver<Resolved>,
    _stop: Sender<()>,
}

impl Resolver {
    /// Starts resolving for `clusters`; `None` where none of them has a name.
    ///
    /// # Errors
    /// What starting a thread reports.
    pub fn start(clusters: &[Arc<Cluster>]) -> io::Result<Option<Self>> {
        if clusters.iter().all(|cluster| cluster.names().next().is_none()) {
            return Ok(None);
        }
        let (changed, changes) = channel();
        let (stop, stopped) = channel();
        let clusters = clusters.to_vec();
        thread::Builder::new()
            .name("resolver".into())
            .spawn(move || run(clusters, &changed, &stopped))?;
        Ok(Some(Self { changes, _stop: stop }))
    }

    /// The latest change, where there was one.
    pub fn change(&self) -> Option<Resolved> {
        self.changes.try_iter().last()
    }
}

fn run(mut clusters: Resolved, changed: &Sender<Resolved>, stopped: &Receiver<()>) {
    let mut due: Vec<Instant> =
        clusters.iter().map(|cluster| Instant::now() + cluster.resolve_interval).collect();
    loop {
        let next = due
            .iter()
            .min()
            .map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        if stopped.recv_timeout(next) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let mut any = false;
        for (cluster, due) in clusters.iter_mut().zip(&mut due) {
            if *due > Instant::now() {
                continue;
            }
            // What is unresolved keeps its addresses; `run` and `check` have told it.
            let (resolved, _) = resolve_names(cluster);
            if resolved != **cluster {
                *cluster = Arc::new(resolved);
                any = true;
            }
            *due = Instant::now() + cluster.resolve_interval;
        }
        if any && changed.send(clusters.clone()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::{Balance, ClusterOptions, Target};

    #[test]
    fn a_name_is_resolved_after_its_interval() {
        let cluster = |target| {
            Arc::new(Cluster::new(ClusterOptions {
                name: "app".into(),
                targets: vec![target],
                balance: Balance::RoundRobin,
                connect_timeout: Duration::from_secs(1),
                resolve_interval: Duration::from_millis(10),
            }))
        };
        let fixed = cluster(Target::Unix("/run/app.sock".into()));
        assert!(Resolver::start(&[fixed]).expect("no thread is needed").is_none());
        let named = cluster(Target::Name { host: "localhost".into(), port: 9000 });
        let resolver = Resolver::start(&[named]).expect("a thread").expect("a name");
        let resolved =
            resolver.changes.recv_timeout(Duration::from_secs(20)).expect("localhost resolves");
        assert!(resolved[0].endpoints.iter().any(|endpoint| endpoint.label.ends_with(":9000")));
    }
}
