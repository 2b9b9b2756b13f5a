//! `ringfort check`: would `run` start with these arguments?
//!
//! It loads what `run` loads, through the same code, and tries what `run` would do next: bind the
//! addresses, open the log, place the workers and set up their rings. It decides nothing itself.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::run::RunArgs;
use crate::config::error::ConfigError;
use crate::config::snapshot::Snapshot;
use crate::control::admin;
use crate::control::load::{self, Loaded};
use crate::control::supervisor::preflight;

/// The arguments of `check`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckArgs {
    /// What `run` would be given
    #[command(flatten)]
    pub run: RunArgs,

    /// The gateway runs: do not ask whether its addresses are free (for a check before a reload)
    #[arg(long)]
    pub running: bool,
}

/// Prints one line per problem on standard error, or `ok: ...` on standard output.
///
/// The exit code is 0 where `run` would start, otherwise 1.
pub fn run(args: &CheckArgs) -> ExitCode {
    match report(args, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // Who cannot be told must not take silence for consent.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn report(args: &CheckArgs, out: &mut impl Write, err: &mut impl Write) -> io::Result<bool> {
    let Loaded { snapshot, warnings, .. } = match args.run.load() {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors, err),
    };
    for warning in &warnings {
        writeln!(err, "warning: {warning}")?;
    }
    let mut errors: Vec<ConfigError> = load::probe_log(&snapshot.log).err().into_iter().collect();
    if !args.running {
        let probes = snapshot.listeners.iter();
        errors.extend(probes.filter_map(|listener| load::probe_address(listener).err()));
        errors.extend(admin::bind(&snapshot).err());
    }
    if !errors.is_empty() {
        return refuse(&errors, err);
    }
    if let Err(error) = preflight(&snapshot) {
        writeln!(err, "error: {error}")?;
        return Ok(false);
    }
    writeln!(out, "ok: {}", summary(&snapshot))?;
    for line in routes(&snapshot) {
        writeln!(out, "{line}")?;
    }
    Ok(true)
}

fn refuse(errors: &[ConfigError], err: &mut impl Write) -> io::Result<bool> {
    for error in errors {
        writeln!(err, "{error}")?;
    }
    Ok(false)
}

fn summary(snapshot: &Snapshot) -> String {
    let listeners: Vec<String> = snapshot
        .listeners
        .iter()
        .map(|listener| {
            let cluster = &snapshot.clusters[listener.cluster].name;
            format!("{} {} -> {cluster}", listener.name, listener.address)
        })
        .collect();
    let endpoints: usize = snapshot.clusters.iter().map(|cluster| cluster.endpoints.len()).sum();
    format!(
        "{}; upstreams {}, endpoints {endpoints}, connections_max {}",
        listeners.join(", "),
        snapshot.clusters.len(),
        snapshot.limits.connections_max
    )
}

/// A line for each route, in the order in which they are tried.
fn routes(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in &snapshot.listeners {
        let Some(http) = &listener.http else {
            continue;
        };
        let table = &http.routes;
        for (route, conditions) in table.routes().iter().zip(table.conditions()) {
            let cluster = &snapshot.clusters[route.cluster].name;
            let (listener, route) = (&listener.name, &route.name);
            lines.push(format!("route {listener}/{route}: {conditions} -> {cluster}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests;
