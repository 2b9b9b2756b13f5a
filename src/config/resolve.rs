//! What the written configuration means: [`Model`] -> [`Snapshot`], or every reason why not.
//!
//! "Parse, don't validate": what comes out needs no further check. Problems are collected, so that
//! one run of `ringfort check` shows what there is to correct, up to a bound. PURE: files, the time
//! and the file limit come in through [`Context`].

mod address;
mod attest;
mod authorities;
pub mod bounds;
mod certificate;
mod client;
mod crypto;
mod errors;
mod fields;
mod files;
mod http;
mod listener;
mod pem;
mod revocation;
mod route;
mod sessions;
mod upstream;
mod upstream_tls;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::KeyLog;
use rustls::pki_types::CertificateDer;

use self::bounds::Bound;
use self::errors::Errors;
use super::error::{ConfigError, Place, nearest};
use super::model::{Model, Number, Text, Texts};
use super::snapshot::{Limits, LogTarget, RingOptions, Snapshot};
use crate::attest::{Signer, SigningKey};
use crate::limits::{
    FDS_PER_CONNECTION, FDS_PER_WORKER, FDS_RESERVED, HANDSHAKES_PER_SOURCE_DIVISOR_DEFAULT,
    NAME_BYTES_MAX, WORKERS_MAX,
};
use crate::trust::crl::{IssuerId, RevocationList};
use crate::trust::tickets::TicketSecret;
use crate::trust::verify::VerifyObserver;

/// Which files of a folder count, by their names.
pub type Belongs = fn(&Path) -> bool;

/// Where the bytes of named files come from.
pub trait FileSource {
    /// The bytes of a file.
    ///
    /// # Errors
    ///
    /// Whatever reading it brings; `FileTooLarge` where it holds more than `bytes_max`.
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error>;

    /// The files of a folder, in the order of their names; `None` where it is no folder. What has a
    /// hidden name (`.x`) is left out, and so are folders within. Links are followed.
    ///
    /// # Errors
    ///
    /// Whatever reading it brings, a link that leads nowhere too; `FileTooLarge` where it has more
    /// than `CA_DIRECTORY_FILES_MAX` files.
    fn list(&self, path: &Path, belongs: Belongs) -> Result<Option<Vec<PathBuf>>, io::Error>;

    /// The bytes of a file whose every content is a secret.
    ///
    /// # Errors
    ///
    /// As [`FileSource::read`].
    fn read_secret(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
        self.read(path, bytes_max)
    }

    /// A sink for TLS secrets that appends to the file.
    ///
    /// # Errors
    ///
    /// Whatever opening it brings.
    fn key_log(&self, path: &Path) -> Result<Arc<dyn KeyLog>, io::Error>;
}

/// What `resolve` may know of the world.
pub struct Context<'a> {
    /// Where the bytes of named files come from.
    pub files: &'a dyn FileSource,
    /// The time, in seconds since 1970.
    pub now_unix_s: i64,
    /// File descriptors that the process may open.
    pub fds_max: u64,
    /// CPUs that the process may use: as many workers start where the configuration is silent.
    pub cpus: usize,
    /// Sees each verification of a client; tests and the demonstration watch through it.
    pub observer: Option<Arc<dyn VerifyObserver>>,
    /// What the keys of session tickets are derived from where no file is named.
    pub ticket_secret: TicketSecret,
    /// What identities are signed with where no file is named.
    pub signing_key: Arc<SigningKey>,
}

/// Gives the model its meaning.
///
/// # Errors
///
/// What is wrong, in the order of the file: at most `CONFIG_ERRORS_MAX` problems, and one more that
/// counts the others.
pub fn resolve(model: &Model, context: &Context<'_>) -> Result<Snapshot, Vec<ConfigError>> {
    let mut resolver = Resolver {
        model,
        context,
        errors: Errors::new(&model.source),
        lists: HashMap::new(),
        signer: attest::signer_of_process(context),
    };
    resolver.read_signer();
    let clusters = resolver.clusters();
    let listeners = resolver.listeners();
    resolver.refuse_unused_http(&listeners);
    let (workers, cpus) = resolver.workers_and_cpus();
    let snapshot = Snapshot {
        epoch: 1,
        workers,
        cpus,
        drain_timeout: resolver.millis(model.drain_timeout_ms.as_ref(), &bounds::DRAIN_TIMEOUT_MS),
        log: resolver.log_target(),
        admin: resolver.admin(&listeners),
        signer: Arc::clone(&resolver.signer),
        limits: resolver.limits(),
        ring: resolver.ring(),
        listeners,
        clusters,
    };
    let errors = resolver.errors.into_sorted();
    if errors.is_empty() { Ok(snapshot) } else { Err(errors) }
}

/// Why a text is not what its key needs; the place is the caller's to add.
#[derive(Debug)]
struct Complaint {
    found: String,
    expected: String,
    fix: String,
}

impl Complaint {
    fn new(found: impl Into<String>, expected: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into(), fix: fix.into() }
    }
}

/// The certificates of a PEM file that no key names, in its order; other sections are skipped.
///
/// # Errors
///
/// What is wrong with `bytes`, told of `file`.
pub fn certificates(file: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    pem::certificates(bytes).map_err(|Complaint { found, expected, fix }| {
        let place = Place::File(file.to_owned());
        ConfigError { place, found, expected, fix }
    })
}

struct Resolver<'a> {
    model: &'a Model,
    context: &'a Context<'a>,
    errors: Errors<'a>,
    /// The lists of revocation of files that were read, by who may have signed them: the tables of
    /// a listener share what they inherit.
    lists: HashMap<(PathBuf, Vec<IssuerId>), Vec<Arc<RevocationList>>>,
    /// What signs identities.
    signer: Arc<Signer>,
}

impl Resolver<'_> {
    fn workers_and_cpus(&mut self) -> (Option<usize>, Option<Vec<usize>>) {
        let cpus = self.model.cpus.as_ref().and_then(|text| {
            address::cpus(text.get_ref())
                .map_err(|complaint| self.complain("cpus", text, complaint))
                .ok()
        });
        let workers = self.model.workers.as_ref().map(|workers| {
            let count = self.count(Some(workers), &bounds::WORKERS) as usize;
            if let Some(cpus) = cpus.as_ref().filter(|cpus| cpus.len() < count) {
                self.refuse(
                    &workers.span(),
                    &format!("workers = {count}, and cpus lists {}", cpus.len()),
                    "a CPU for each worker",
                    &format!("set workers to {} or list more CPUs", cpus.len()),
                );
            }
            count
        });
        (workers, cpus)
    }

    fn log_target(&mut self) -> LogTarget {
        let Some(target) = &self.model.log.target else {
            return LogTarget::Stderr;
        };
        match target.get_ref().as_str() {
            "stderr" => LogTarget::Stderr,
            "off" => LogTarget::Off,
            path if path.contains('/') => match self.path("target", target) {
                Some(path) => LogTarget::File(path),
                None => LogTarget::Off,
            },
            // Otherwise `stdout`, or a typing error, would become the name of a file.
            other => {
                self.refuse(
                    &target.span(),
                    &format!("target = {other:?}"),
                    "\"stderr\", \"off\", or the path of a file with a `/` in it",
                    "write one of these; \"./access.log\" is a file beside the configuration",
                );
                LogTarget::Off
            }
        }
    }

    /// Descriptors that are not there for connections.
    fn fds_reserved(&self) -> u64 {
        let asked = self.model.workers.as_ref().map(|count| *count.get_ref());
        let workers = asked.map(|count| count.clamp(0, WORKERS_MAX as i64).unsigned_abs());
        let workers = workers.unwrap_or(self.context.cpus as u64);
        let each = FDS_PER_WORKER + self.model.listener.len() as u64;
        FDS_RESERVED + workers * each
    }

    fn limits(&mut self) -> Limits {
        let limits = &self.model.limits;
        let fds_max = self.context.fds_max;
        let reserved = self.fds_reserved();
        let fitting = fds_max.saturating_sub(reserved) / FDS_PER_CONNECTION;
        let fitting = fitting.min(bounds::CONNECTIONS_MAX.max.unsigned_abs());
        if fitting == 0 {
            self.refuse_absent(
                &format!("the process may open {fds_max} file descriptors"),
                &format!("at least {}", reserved + FDS_PER_CONNECTION),
                "raise the limit: `ulimit -n 65536`, or LimitNOFILE=65536 in the unit",
            );
        }
        let connections_max = match &limits.connections_max {
            None => u32::try_from(fitting).unwrap_or(u32::MAX),
            Some(written) => {
                let connections_max = self.count(Some(written), &bounds::CONNECTIONS_MAX);
                let needed = u64::from(connections_max) * FDS_PER_CONNECTION + reserved;
                let in_bounds = i64::from(connections_max) == *written.get_ref();
                if in_bounds && needed > fds_max && fitting > 0 {
                    self.refuse(
                        &written.span(),
                        &format!(
                            "connections_max = {connections_max} needs {needed} file descriptors \
                             ({FDS_PER_CONNECTION} each and {reserved} more), and the process \
                             may open {fds_max}"
                        ),
                        &format!("at most {fitting}"),
                        &format!(
                            "raise the limit: `ulimit -n {needed}`, or LimitNOFILE={needed} in \
                             the unit; or set connections_max to {fitting} or less"
                        ),
                    );
                }
                connections_max
            }
        };
        let all = (bounds::CONNECTIONS_MAX.key, connections_max);
        let per_worker = limits.connections_per_worker_max.as_ref();
        let per_source = limits.connections_per_source_max.as_ref();
        let per_worker = self.share(per_worker, &bounds::CONNECTIONS_PER_WORKER_MAX, all);
        let per_source = self.share(per_source, &bounds::CONNECTIONS_PER_SOURCE_MAX, all);
        let [handshakes_per_worker_max, handshakes_per_source_max] = self.handshakes();
        Limits {
            connections_max,
            connections_per_worker_max: per_worker.unwrap_or(connections_max),
            connections_per_source_max: per_source,
            handshakes_per_worker_max,
            handshakes_per_source_max,
            handshake_queue: self
                .millis(limits.handshake_queue_ms.as_ref(), &bounds::HANDSHAKE_QUEUE_MS),
            verdicts_per_worker_max: self
                .count(limits.verdicts_per_worker_max.as_ref(), &bounds::VERDICTS_PER_WORKER_MAX),
            session_cache_bytes: self
                .count(limits.session_cache_bytes.as_ref(), &bounds::SESSION_CACHE_BYTES),
        }
    }

    /// Handshakes in progress of a worker, and of a source there.
    fn handshakes(&mut self) -> [u32; 2] {
        let limits = &self.model.limits;
        let bound = &bounds::HANDSHAKES_PER_WORKER_MAX;
        let per_worker = self.count(limits.handshakes_per_worker_max.as_ref(), bound);
        let per_source = limits.handshakes_per_source_max.as_ref();
        let all = (bound.key, per_worker);
        let per_source = self.share(per_source, &bounds::HANDSHAKES_PER_SOURCE_MAX, all);
        let default = per_worker.div_ceil(HANDSHAKES_PER_SOURCE_DIVISOR_DEFAULT);
        [per_worker, per_source.unwrap_or(default)]
    }

    /// A number that cannot exceed another one, which has a key too.
    fn share(
        &mut self,
        written: Option<&Number>,
        bound: &Bound,
        (all, most): (&str, u32),
    ) -> Option<u32> {
        let written = written?;
        let share = self.count(Some(written), bound);
        if share > most {
            self.refuse(
                &written.span(),
                &format!("{} = {share}", bound.key),
                &format!("at most {all}, which is {most}"),
                &format!("set it to {most} or less, or raise {all}"),
            );
        }
        Some(share)
    }

    fn ring(&mut self) -> RingOptions {
        let ring = &self.model.ring;
        let recv_buffers = self.count(ring.recv_buffers.as_ref(), &bounds::RECV_BUFFERS);
        if let Some(written) = &ring.recv_buffers
            && !recv_buffers.is_power_of_two()
        {
            let below = 1 << recv_buffers.ilog2();
            self.refuse(
                &written.span(),
                &format!("recv_buffers = {recv_buffers}"),
                "a power of two, which the kernel's buffer rings need",
                &format!("set it to {below} or {}", below * 2),
            );
        }
        RingOptions {
            entries: self.count(ring.entries.as_ref(), &bounds::ENTRIES),
            // invariant: the bound's maximum is a u16.
            recv_buffers: u16::try_from(recv_buffers).unwrap_or(u16::MAX),
            sqpoll_idle_ms: self.count(ring.sqpoll_idle_ms.as_ref(), &bounds::SQPOLL_IDLE_MS),
            napi_busy_poll_us: self
                .count(ring.napi_busy_poll_us.as_ref(), &bounds::NAPI_BUSY_POLL_US),
            zero_copy_send: ring.zero_copy_send.unwrap_or(false),
        }
    }

    fn refuse(&mut self, span: &Range<usize>, found: &str, expected: &str, fix: &str) {
        self.errors.refuse(span, found, expected, fix);
    }

    fn refuse_absent(&mut self, found: &str, expected: &str, fix: &str) {
        self.errors.refuse_absent(found, expected, fix);
    }

    fn complain(&mut self, key: &str, text: &Text, complaint: Complaint) {
        let found = format!("{key} = {:?} {}", text.get_ref(), complaint.found);
        self.refuse(&text.span(), &found, &complaint.expected, &complaint.fix);
    }

    /// A number within its bounds; where it is refused, the nearest within, so that the other
    /// checks can go on.
    fn number(&mut self, written: Option<&Number>, bound: &Bound) -> i64 {
        let Some(written) = written else {
            return bound.default.unwrap_or(bound.min);
        };
        let (number, Bound { key, min, max, .. }) = (*written.get_ref(), bound);
        if !(*min..=*max).contains(&number) {
            let default = match bound.default {
                Some(default) => format!(" ({default})"),
                None => String::new(),
            };
            self.refuse(
                &written.span(),
                &format!("{key} = {number}"),
                &format!("an integer from {min} to {max}"),
                &format!("set it within, or remove it for the default{default}"),
            );
        }
        number.clamp(*min, *max)
    }

    fn count(&mut self, written: Option<&Number>, bound: &Bound) -> u32 {
        // invariant: no count's bound exceeds a u32.
        u32::try_from(self.number(written, bound)).unwrap_or(u32::MAX)
    }

    fn millis(&mut self, written: Option<&Number>, bound: &Bound) -> Duration {
        Duration::from_millis(self.number(written, bound).unsigned_abs())
    }

    /// A duration where 0 stands for none.
    fn optional_millis(&mut self, written: Option<&Number>, bound: &Bound) -> Option<Duration> {
        Some(self.millis(written, bound)).filter(|duration| !duration.is_zero())
    }

    fn choice<T: Copy>(
        &mut self,
        written: Option<&Text>,
        key: &str,
        known: &[(&'static str, T)],
        default: T,
    ) -> T {
        let Some(text) = written else {
            return default;
        };
        match known.iter().find(|(name, _)| name == text.get_ref()) {
            Some((_, value)) => *value,
            None => {
                self.refuse_unknown(key, text, known.iter().map(|(name, _)| *name));
                default
            }
        }
    }

    fn refuse_unknown(
        &mut self,
        key: &str,
        text: &Text,
        known: impl Iterator<Item = &'static str>,
    ) {
        if self.errors.is_full() {
            return self.errors.leave_out();
        }
        let known: Vec<_> = known.collect();
        let fix = match nearest(text.get_ref(), known.iter().copied()) {
            Some(near) => format!("write \"{near}\""),
            None => "write one of these".to_string(),
        };
        let found = format!("{key} = {:?}", text.get_ref());
        self.refuse(&text.span(), &found, &format!("one of {}", known.join(", ")), &fix);
    }

    /// A list of known names, each once; `None` where it is not written or nothing of it is known.
    fn known_list<T>(
        &mut self,
        written: Option<&Texts>,
        key: &str,
        known: impl Iterator<Item = &'static str> + Clone,
        parse: impl Fn(&str) -> Option<(&'static str, T)>,
    ) -> Option<Vec<T>> {
        let written = written?;
        self.refuse_empty_list(written, key);
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for text in written.get_ref() {
            match parse(text.get_ref()) {
                None => self.refuse_unknown(key, text, known.clone()),
                Some((name, _)) if names.contains(&name) => self.refuse(
                    &text.span(),
                    &format!("{key} lists {:?} again", text.get_ref()),
                    "each once",
                    "remove this one",
                ),
                Some((name, value)) => {
                    names.push(name);
                    values.push(value);
                }
            }
        }
        Some(values).filter(|values| !values.is_empty())
    }

    fn refuse_empty_list(&mut self, written: &Texts, key: &str) {
        if written.get_ref().is_empty() {
            self.refuse(
                &written.span(),
                &format!("{key} is an empty list"),
                "at least one entry",
                "add one, or remove the key for the default",
            );
        }
    }

    /// The name of a listener or an upstream: a metric label and a log field.
    fn name(&mut self, written: Option<&Text>, table: Range<usize>, what: &str) -> String {
        let expected = format!("1 to {NAME_BYTES_MAX} letters, digits and `-`, `_`, `.`");
        let Some(name) = self.required(written, &table, what, "name", "main") else {
            return String::new();
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.get_ref().len() > NAME_BYTES_MAX || !name.get_ref().bytes().all(is_plain) {
            let found = format!("name = {:?}", name.get_ref());
            self.refuse(&name.span(), &found, &expected, "choose such a name");
        }
        name.get_ref().clone()
    }

    fn required<'t>(
        &mut self,
        written: Option<&'t Text>,
        table: &Range<usize>,
        what: &str,
        key: &str,
        example: &str,
    ) -> Option<&'t Text> {
        match written {
            Some(text) if !text.get_ref().is_empty() => written,
            Some(text) => {
                let fix = format!("write a value such as {example:?}");
                self.refuse(&text.span(), &format!("{key} = \"\""), "a value", &fix);
                None
            }
            None => {
                let fix = format!("add `{key} = {example:?}`");
                self.refuse(table, &format!("{what} has no key `{key}`"), "it to be set", &fix);
                None
            }
        }
    }

    fn refuse_duplicates<'t>(&mut self, key: &str, texts: impl Iterator<Item = &'t Text>) {
        // A map, for a file may list some hundred thousand before their number is refused.
        let mut seen: HashMap<&str, &Text> = HashMap::new();
        for text in texts {
            match seen.entry(text.get_ref()) {
                // Beyond the bound not even the place: a list may have some hundred thousand.
                Entry::Occupied(_) if self.errors.is_full() => self.errors.leave_out(),
                Entry::Occupied(earlier) => {
                    let at = self.model.source.place(&earlier.get().span());
                    let found = format!("{key} = {:?}, as at {at}", text.get_ref());
                    self.refuse(&text.span(), &found, "each once", "rename or remove one of them");
                }
                Entry::Vacant(place) => {
                    place.insert(text);
                }
            }
        }
    }

    /// The path of a file, from the folder of the configuration.
    fn path(&mut self, key: &str, text: &Text) -> Option<PathBuf> {
        if text.get_ref().is_empty() || text.get_ref().contains('\0') {
            let found = format!("{key} = {:?}", text.get_ref());
            self.refuse(&text.span(), &found, "the path of a file", "write one");
            return None;
        }
        Some(self.model.folder.join(text.get_ref()))
    }

    fn read(&mut self, key: &str, text: &Text, bytes_max: usize) -> Option<Vec<u8>> {
        let path = self.path(key, text)?;
        self.read_at(key, text, &path, bytes_max)
    }

    /// The bytes of a file that `text` names, or that is in the folder that `text` names.
    fn read_at(
        &mut self,
        key: &str,
        text: &Text,
        path: &Path,
        bytes_max: usize,
    ) -> Option<Vec<u8>> {
        let read = self.context.files.read(path, bytes_max);
        read.map_err(|error| self.refuse_unread(key, text, path, &error, bytes_max)).ok()
    }

    fn refuse_unread(
        &mut self,
        key: &str,
        text: &Text,
        path: &Path,
        error: &io::Error,
        bytes_max: usize,
    ) {
        let (expected, fix) = match error.kind() {
            io::ErrorKind::NotFound => (
                "a file that exists".to_string(),
                "correct the path; a relative one starts at the configuration's folder",
            ),
            io::ErrorKind::PermissionDenied => (
                "a file that the program may read".to_string(),
                "let the program's user read it, and enter every folder above it",
            ),
            io::ErrorKind::FileTooLarge => {
                (format!("at most {bytes_max} bytes"), "check that this is the right file")
            }
            _ => ("a readable file".to_string(), "check the path and the file"),
        };
        let found = format!("{key} = {:?}: {} ({error})", text.get_ref(), path.display());
        self.refuse(&text.span(), &found, &expected, fix);
    }
}

#[cfg(test)]
mod tests;
