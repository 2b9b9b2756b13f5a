//! What a gateway was started with and cannot change while it runs: a new configuration that
//! changes it is refused as a whole.
//!
//! Threads, rings, listening sockets and caches are made once, and workers know a listener by its
//! place.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::config::error::ConfigError;
use crate::config::model::{self, Model, Number};
use crate::config::snapshot::{Listener, LogTarget, Snapshot};
use crate::limits::CONFIG_ERRORS_MAX;

/// What `after` changes and must not, by key, at most `CONFIG_ERRORS_MAX`; `model` is `after` as
/// it is written.
pub(super) fn refusals(model: &Model, before: &Snapshot, after: &Snapshot) -> Vec<ConfigError> {
    let mut found: Vec<(Span, String)> = Vec::new();
    let (were, are) = (process(model, before), process(model, after));
    found.extend(were.into_iter().zip(are).filter_map(|(was, is)| differ(was, is, "")));
    for listener in &before.listeners {
        let Some(same) = named(&after.listeners, &listener.name) else {
            let gone = format!("there is no listener {:?}, for which it listens", listener.name);
            found.push((None, gone));
            continue;
        };
        let written = written(model, &listener.name);
        let of = format!(" of listener {:?}", listener.name);
        let pairs = socket(written, listener).into_iter().zip(socket(written, same));
        found.extend(pairs.filter_map(|(was, is)| differ(was, is, &of)));
    }
    for listener in &after.listeners {
        if named(&before.listeners, &listener.name).is_none() {
            let name = written(model, &listener.name).and_then(|it| it.name.as_ref());
            let new = format!("name = {:?}, a listener that it does not have", listener.name);
            found.push((name.map(model::Text::span), new));
        }
    }
    found.truncate(CONFIG_ERRORS_MAX);
    let refuse = |(span, found): (Span, String)| ConfigError {
        place: span.map_or_else(|| model.source.whole(), |span| model.source.place(&span)),
        found,
        expected: "what the gateway was started with".to_string(),
        fix: "set it back, or restart the gateway: this takes effect at a start only".to_string(),
    };
    found.into_iter().map(refuse).collect()
}

/// The listeners of `after` in the order of `before`; both have the same names.
pub(super) fn in_order(before: &[Arc<Listener>], after: &[Arc<Listener>]) -> Vec<Arc<Listener>> {
    let mut ordered = after.to_vec();
    ordered.sort_by_key(|listener| before.iter().position(|other| other.name == listener.name));
    ordered
}

fn named<'a>(listeners: &'a [Arc<Listener>], name: &str) -> Option<&'a Listener> {
    listeners.iter().map(Arc::as_ref).find(|listener| &*listener.name == name)
}

fn written<'a>(model: &'a Model, name: &str) -> Option<&'a model::Listener> {
    let mut listeners = model.listener.iter().map(toml::Spanned::get_ref);
    listeners.find(|listener| listener.name.as_ref().is_some_and(|it| it.get_ref() == name))
}

/// Where a key is written; `None` where it is not.
type Span = Option<Range<usize>>;

/// One key: where it is written, its name, and its value in words.
type Key = (Span, &'static str, String);

fn differ(was: Key, is: Key, of: &str) -> Option<(Span, String)> {
    let ((_, key, was), (span, _, is)) = (was, is);
    (was != is).then(|| (span, format!("{key}{of} is {is} now, and it runs with {was}")))
}

fn process(model: &Model, snapshot: &Snapshot) -> Vec<Key> {
    let (written, ring) = (&model.ring, &snapshot.ring);
    let cpus = snapshot.cpus.as_ref().map(|cpus| format!("{cpus:?}"));
    let log = match &snapshot.log {
        LogTarget::Stderr => "\"stderr\"".to_string(),
        LogTarget::Off => "\"off\"".to_string(),
        LogTarget::File(path) => format!("{:?}", path.display().to_string()),
    };
    let text = |text: &Option<model::Text>| text.as_ref().map(model::Text::span);
    let admin = model.admin.as_ref().and_then(|admin| admin.get_ref().address.clone());
    let limits = (&model.limits, &snapshot.limits);
    vec![
        (
            span(&limits.0.verdicts_per_worker_max),
            "limits.verdicts_per_worker_max",
            limits.1.verdicts_per_worker_max.to_string(),
        ),
        (
            span(&limits.0.session_cache_bytes),
            "limits.session_cache_bytes",
            limits.1.session_cache_bytes.to_string(),
        ),
        (span(&model.workers), "workers", or_default(snapshot.workers)),
        (text(&model.cpus), "cpus", or_default(cpus)),
        (text(&model.log.target), "log.target", log),
        (
            text(&admin),
            "admin.address",
            snapshot.admin.map_or("nowhere".into(), |it| it.to_string()),
        ),
        (span(&written.entries), "ring.entries", ring.entries.to_string()),
        (span(&written.recv_buffers), "ring.recv_buffers", ring.recv_buffers.to_string()),
        (span(&written.sqpoll_idle_ms), "ring.sqpoll_idle_ms", ring.sqpoll_idle_ms.to_string()),
        (
            span(&written.napi_busy_poll_us),
            "ring.napi_busy_poll_us",
            ring.napi_busy_poll_us.to_string(),
        ),
        (None, "ring.zero_copy_send", ring.zero_copy_send.to_string()),
    ]
}

fn socket(written: Option<&model::Listener>, listener: &Listener) -> Vec<Key> {
    let nothing = model::Listener::default();
    let written = written.unwrap_or(&nothing);
    let options = &listener.socket;
    let family = if options.dual_stack { " with IPv4" } else { "" };
    let address = format!("{}{family}", listener.address);
    let protocol = if listener.http.is_some() { "\"http\"" } else { "\"tcp\"" };
    vec![
        // Who is connected speaks the one or the other.
        (written.protocol.as_ref().map(model::Text::span), "protocol", protocol.to_string()),
        (written.address.as_ref().map(model::Text::span), "address", address),
        (span(&written.backlog), "backlog", options.backlog.to_string()),
        (span(&written.keepalive_s), "keepalive_s", seconds(options.keepalive)),
        (span(&written.tcp_user_timeout_ms), "tcp_user_timeout_ms", seconds(options.user_timeout)),
        (
            span(&written.send_buffer_bytes),
            "send_buffer_bytes",
            or_default(options.send_buffer_bytes),
        ),
        (
            span(&written.recv_buffer_bytes),
            "recv_buffer_bytes",
            or_default(options.recv_buffer_bytes),
        ),
    ]
}

fn span(number: &Option<Number>) -> Span {
    number.as_ref().map(Number::span)
}

fn or_default(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "the default".to_string(), |value| value.to_string())
}

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "0".to_string(), |duration| format!("{} s", duration.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kit::{RIGHT, but, resolved};

    fn right(text: &str) -> Snapshot {
        resolved(text).expect("the configuration is right")
    }

    /// What is refused of `text` where the gateway was started with `before`.
    fn refused(before: &str, text: &str) -> Vec<String> {
        let model = model::parse(text, "r.toml").expect("the schema is kept");
        let refusals = refusals(&model, &right(before), &right(text));
        refusals.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_the_same_or_may_change_is_not_refused() {
        assert_eq!(refused(RIGHT, RIGHT), [""; 0]);
        let changed = format!("drain_timeout_ms = 1\n[limits]\nconnections_max = 9\n{RIGHT}");
        let changed = changed.replace(
            '#',
            "client_auth = \"optional\"\nidle_timeout_ms = 7\nallow = [\"any\"]\nalpn = [\"h2\"]",
        );
        assert_eq!(refused(RIGHT, &changed.replace("127.0.0.1:9000", "b.test:1")), [""; 0]);
        let http = but("#", "protocol = \"http\"");
        let routed = format!("{http}[[listener.route]]\nname = \"a\"\npath = \"/a\"\n");
        assert_eq!(refused(&http, &routed), [""; 0], "routes may come and go");
        let written = but("#", "keepalive_s = 60\nbacklog = 4096");
        assert_eq!(refused(RIGHT, &written), [""; 0], "the default, written out");
    }

    #[test]
    fn each_key_of_the_process_is_refused_by_its_name_and_place() {
        let cases = [
            ("workers = 2\n", "r.toml:1:11: workers is 2 now, and it runs with the default;"),
            ("cpus = \"0\"\n", "r.toml:1:8: cpus is [0] now, and it runs with the default;"),
            ("[log]\ntarget = \"off\"\n", "r.toml:2:10: log.target is \"off\" now"),
            (
                "[admin]\naddress = \"127.0.0.1:9901\"\n",
                "r.toml:2:11: admin.address is 127.0.0.1:9901 now, and it runs with nowhere;",
            ),
            ("[ring]\nentries = 64\n", "r.toml:2:11: ring.entries is 64 now"),
            ("[ring]\nrecv_buffers = 8\n", "r.toml:2:16: ring.recv_buffers is 8 now"),
            ("[ring]\nsqpoll_idle_ms = 9\n", "r.toml:2:18: ring.sqpoll_idle_ms is 9 now"),
            ("[ring]\nnapi_busy_poll_us = 9\n", "r.toml:2:21: ring.napi_busy_poll_us is 9 now"),
            ("[ring]\nzero_copy_send = true\n", "r.toml: ring.zero_copy_send is true now"),
        ];
        for (line, expected) in cases {
            let text = format!("{line}{RIGHT}");
            let errors = refused(RIGHT, &text);
            assert_eq!(errors.len(), 1, "{errors:#?}");
            assert!(errors[0].starts_with(expected), "{}", errors[0]);
            let back = refused(&text, RIGHT);
            assert!(back.len() == 1 && back[0].starts_with("r.toml: "), "{back:#?}");
        }
    }

    #[test]
    fn each_key_of_a_socket_is_refused_by_its_name_and_place() {
        let cases = [
            (
                "protocol = \"http\"",
                "r.toml:9:12: protocol of listener \"main\" is \"http\" now, and it runs with",
            ),
            ("backlog = 5", "r.toml:9:11: backlog of listener \"main\" is 5 now, and"),
            ("keepalive_s = 0", "r.toml:9:15: keepalive_s of listener \"main\" is 0 now, and it"),
            ("tcp_user_timeout_ms = 4", "r.toml:9:23: tcp_user_timeout_ms of listener"),
            ("send_buffer_bytes = 4096", "r.toml:9:21: send_buffer_bytes of listener"),
            ("recv_buffer_bytes = 4096", "r.toml:9:21: recv_buffer_bytes of listener"),
        ];
        for (line, expected) in cases {
            let errors = refused(RIGHT, &but("#", line));
            assert_eq!(errors.len(), 1, "{errors:#?}");
            assert!(errors[0].starts_with(expected), "{}", errors[0]);
        }
        let port = refused(RIGHT, &but(":8443", ":8444"));
        let expected = "r.toml:6:11: address of listener \"main\" is [::]:8444 with IPv4 now, and \
                        it runs with [::]:8443 with IPv4; expected what the gateway was started \
                        with; fix: set it back, or restart the gateway: this takes effect at a \
                        start only";
        assert_eq!(port, [expected]);
        assert_eq!(refused(RIGHT, &but(":8443", "[::]:8443")).len(), 1, "IPv6 only");
    }

    /// Listeners of these names in this order, each with a port of its own.
    fn listeners(names: &[&str]) -> String {
        let (upstream, listener) = RIGHT.split_at(RIGHT.find("[[listener]]").expect("one"));
        let one = |name: &&str| {
            let port = 7000 + u32::from(name.as_bytes()[0]);
            listener.replace("main", name).replace("8443", &port.to_string())
        };
        upstream.to_string() + &names.iter().map(one).collect::<String>()
    }

    #[test]
    fn listeners_that_come_or_go_are_refused_and_their_order_does_not_count() {
        let three = listeners(&["a", "b", "c"]);
        assert_eq!(refused(&three, &listeners(&["c", "a", "b"])), [""; 0]);
        let errors = refused(&three, &listeners(&["c", "b", "d"]));
        assert_eq!(errors.len(), 2, "{errors:#?}");
        assert!(errors[0].starts_with("r.toml: there is no listener \"a\""), "{}", errors[0]);
        assert!(errors[1].starts_with("r.toml:23:8: name = \"d\", a listener"), "{}", errors[1]);
    }

    #[test]
    fn listeners_keep_the_order_of_those_that_run() {
        let before = right(&listeners(&["a", "b", "c"])).listeners;
        let after = right(&listeners(&["c", "a", "b"])).listeners;
        let ordered = in_order(&before, &after);
        let names = |listeners: &[Arc<Listener>]| {
            listeners.iter().map(|it| (it.name.to_string(), it.address)).collect::<Vec<_>>()
        };
        assert_eq!(names(&ordered), names(&before));
        assert!(Arc::ptr_eq(&ordered[0], &after[1]), "it is the new one");
    }
}
