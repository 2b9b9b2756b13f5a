//! Resolves the upstreams' names again and again, on a thread of its own: a resolver that hangs
//! must delay neither the log nor a signal.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::load::resolve_names;
use crate::config::snapshot::Cluster;

/// The clusters after a resolution that changed at least one of them, or to go on with.
pub type Resolved = Vec<Arc<Cluster>>;

/// See the module's description. Dropping it ends the thread when it next wakes.
#[derive(Debug, Default)]
pub struct Resolver {
    /// `None` as long as no upstream had a name.
    thread: Option<(Sender<Resolved>, Receiver<Resolved>)>,
}

impl Resolver {
    /// Starts resolving for `clusters`; without a thread where none of them has a name.
    ///
    /// # Errors
    /// What starting a thread reports.
    pub fn start(clusters: &[Arc<Cluster>]) -> io::Result<Self> {
        let mut resolver = Self::default();
        resolver.follow(clusters)?;
        Ok(resolver)
    }

    /// Goes on with `clusters` in place of those before. A change of those before may still come.
    ///
    /// # Errors
    /// What starting a thread reports, where these are the first with a name.
    pub fn follow(&mut self, clusters: &[Arc<Cluster>]) -> io::Result<()> {
        if let Some((follow, _)) = &self.thread {
            // Fails where the thread has panicked, which ends a release build.
            let _ = follow.send(clusters.to_vec());
            return Ok(());
        }
        if clusters.iter().all(|cluster| cluster.names().next().is_none()) {
            return Ok(());
        }
        let (changed, changes) = channel();
        let (follow, followed) = channel();
        let clusters = clusters.to_vec();
        thread::Builder::new()
            .name("resolver".into())
            .spawn(move || run(clusters, &changed, &followed))?;
        self.thread = Some((follow, changes));
        Ok(())
    }

    /// The latest change, where there was one. Only its answers count: it may be of clusters that
    /// were followed before.
    pub fn change(&self) -> Option<Resolved> {
        self.thread.as_ref()?.1.try_iter().last()
    }
}

fn run(mut clusters: Resolved, changed: &Sender<Resolved>, followed: &Receiver<Resolved>) {
    let mut due: Vec<Instant> = clusters.iter().map(|cluster| due_after(cluster)).collect();
    loop {
        let next = due
            .iter()
            .min()
            .map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        match followed.recv_timeout(next) {
            Ok(others) => {
                let others = followed.try_iter().last().unwrap_or(others);
                due = others.iter().map(|other| due_of(other, &clusters, &due)).collect();
                clusters = others;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
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
            *due = due_after(cluster);
        }
        if any && changed.send(clusters.clone()).is_err() {
            return;
        }
    }
}

fn due_after(cluster: &Cluster) -> Instant {
    Instant::now() + cluster.resolve_interval
}

/// Reloads that come more often than its interval must not put a resolution off for ever.
fn due_of(cluster: &Cluster, before: &[Arc<Cluster>], due: &[Instant]) -> Instant {
    let mut pairs = before.iter().zip(due);
    let same = pairs.find(|(other, _)| other.name == cluster.name);
    let later = due_after(cluster);
    same.map_or(later, |(_, due)| later.min(*due))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::{Balance, ClusterOptions, Target, UpstreamHttp};

    fn cluster(name: &str, target: Target, interval_ms: u64) -> Arc<Cluster> {
        Arc::new(Cluster::new(ClusterOptions {
            name: name.into(),
            targets: vec![target],
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(1),
            resolve_interval: Duration::from_millis(interval_ms),
            http: UpstreamHttp::default(),
        }))
    }

    fn localhost(port: u16) -> Target {
        Target::Name { host: "localhost".into(), port }
    }

    /// The next change.
    fn next(resolver: &Resolver) -> Resolved {
        let (_, changes) = resolver.thread.as_ref().expect("a name");
        changes.recv_timeout(Duration::from_secs(20)).expect("localhost resolves")
    }

    fn has_port(cluster: &Cluster, port: u16) -> bool {
        let suffix = format!(":{port}");
        cluster.endpoints.iter().any(|endpoint| endpoint.label.ends_with(&suffix))
    }

    #[test]
    fn a_name_is_resolved_after_its_interval() {
        let fixed = cluster("app", Target::Unix("/run/app.sock".into()), 10);
        let mut resolver = Resolver::start(&[fixed]).expect("no thread is needed");
        assert!(resolver.thread.is_none());
        resolver.follow(&[cluster("app", localhost(9000), 10)]).expect("a thread");
        assert!(has_port(&next(&resolver)[0], 9000));
    }

    #[test]
    fn it_follows_other_upstreams() {
        let resolver = Resolver::start(&[cluster("app", localhost(9000), 10)]);
        let mut resolver = resolver.expect("a thread");
        assert!(has_port(&next(&resolver)[0], 9000));
        let others = [cluster("new", localhost(9001), 10), cluster("app", localhost(9002), 10)];
        resolver.follow(&others).expect("the thread is there");
        // They may come due one after the other; `next` gives up where they never do.
        let is_complete = |resolved: &Resolved| match resolved.as_slice() {
            [new, app] => has_port(new, 9001) && has_port(app, 9002),
            _ => false,
        };
        while !is_complete(&next(&resolver)) {}
    }

    #[test]
    fn following_again_and_again_does_not_put_a_resolution_off() {
        let before = [cluster("app", localhost(9000), 60_000)];
        let soon = Instant::now() + Duration::from_millis(5);
        let due = |name: &str, ms| due_of(&cluster(name, localhost(1), ms), &before, &[soon]);
        assert_eq!(due("app", 60_000), soon);
        assert!(due("app", 0) < soon, "a shorter interval counts at once");
        assert!(due("other", 60_000) > soon + Duration::from_secs(50));
    }
}
