//! Tests of `resolve`: what a right configuration becomes, and each refusal with its message.

use std::path::PathBuf;
use std::time::Duration;

use super::bounds;
use crate::config::kit::{RIGHT, but, files, resolved, resolved_with};
use crate::config::snapshot::{Balance, Listener, LogTarget, Snapshot, Target};
use crate::limits::{
    CONFIG_BYTES_MAX, CONFIG_ERRORS_MAX, LISTENERS_MAX, NAMES_SHOWN_MAX, UPSTREAMS_MAX,
};
use crate::tls::server::Hooks;
use crate::trust::verify::ClientAuth;

mod folder;
mod http;
mod revocation;
mod route;
mod tls;
mod upstream;

fn right(text: &str) -> Snapshot {
    resolved(text).expect("the configuration is right")
}

/// The one refusal of a text.
fn refusal(text: &str) -> String {
    let mut errors = resolved(text).expect_err("the configuration must be refused");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}

/// The one refusal where line 9 is this.
fn refusal_with(line: &str) -> String {
    refusal(&but("#", line))
}

#[test]
fn what_is_not_written_has_its_default() {
    let snapshot = right(RIGHT);
    assert_eq!((snapshot.workers, snapshot.cpus), (None, None));
    assert_eq!(snapshot.drain_timeout, Duration::from_secs(30));
    assert_eq!(snapshot.log, LogTarget::Stderr);
    assert_eq!(snapshot.limits.connections_max, (65_536 - 64) / 2);
    assert_eq!(snapshot.limits.connections_per_worker_max, (65_536 - 64) / 2);
    assert_eq!(snapshot.limits.connections_per_source_max, None);
    assert_eq!(snapshot.limits.handshakes_per_worker_max, 1024);
    assert_eq!(snapshot.limits.handshakes_per_source_max, 512);
    assert_eq!(snapshot.limits.handshake_queue, Duration::from_millis(500));
    assert_eq!((snapshot.ring.entries, snapshot.ring.recv_buffers), (1024, 256));
    assert_eq!((snapshot.ring.sqpoll_idle_ms, snapshot.ring.napi_busy_poll_us), (0, 0));
    assert!(!snapshot.ring.zero_copy_send);
    let listener = &snapshot.listeners[0];
    assert_eq!(&*listener.name, "main");
    assert_eq!(listener.address.to_string(), "[::]:8443");
    assert_eq!(listener.scopes.default.client_auth(), ClientAuth::Require);
    assert!(listener.scopes.default.rules().is_unrestricted());
    assert_eq!(listener.handshake_timeout, Duration::from_secs(10));
    assert_eq!(listener.idle_timeout, Duration::from_secs(3600));
    assert_eq!(listener.connection_age_max, None);
    assert!(listener.socket.dual_stack);
    assert_eq!(listener.socket.user_timeout, None);
    assert_eq!(listener.socket.keepalive, Some(Duration::from_secs(60)));
    assert_eq!(listener.socket.backlog, 4096);
    let cluster = &snapshot.clusters[listener.cluster];
    assert_eq!(&*cluster.name, "app");
    assert_eq!(cluster.balance, Balance::RoundRobin);
    assert_eq!(cluster.connect_timeout, Duration::from_secs(5));
    assert_eq!(cluster.resolve_interval, Duration::from_secs(30));
    assert_eq!(&*cluster.endpoints[0].label, "127.0.0.1:9000");
}

#[test]
fn what_is_written_is_in_the_snapshot() {
    let top = "workers = 2\ncpus = \"4,0-1\"\ndrain_timeout_ms = 0\n[log]\ntarget = \"./a.log\"\n\
               [limits]\nconnections_max = 100\nconnections_per_worker_max = 60\n\
               connections_per_source_max = 7\nhandshakes_per_worker_max = 9\n\
               handshakes_per_source_max = 8\nhandshake_queue_ms = 0\n\
               [ring]\nentries = 64\nrecv_buffers = 8\n\
               sqpoll_idle_ms = 10\nnapi_busy_poll_us = 20\nzero_copy_send = true\n";
    let listener = "protocol = \"tcp\"\nclient_auth = \"optional\"\n\
                    allow = [\"dns:a.test\", \"any\"]\ndeny = [\"dns:b.test\"]\n\
                    handshake_timeout_ms = 1\n\
                    idle_timeout_ms = 2\nconnection_age_max_ms = 3\ntcp_user_timeout_ms = 4\n\
                    keepalive_s = 0\nsend_buffer_bytes = 4096\nrecv_buffer_bytes = 8192\n\
                    backlog = 5\nalpn = [\"h2\", \"http/1.1\"]\nkey_log = \"keys.log\"";
    let upstream = "endpoints = [\"unix:/a.sock\", \"b.test:1\"]\n\
                    balance = \"least_connections\"\nconnect_timeout_ms = 6\n\
                    resolve_interval_ms = 7000";
    let text = top.to_string() + RIGHT;
    let text = text.replace('#', listener).replace("endpoints = [\"127.0.0.1:9000\"]", upstream);
    let snapshot = right(&text);
    assert_eq!((snapshot.workers, snapshot.cpus), (Some(2), Some(vec![0, 1, 4])));
    assert_eq!(snapshot.drain_timeout, Duration::ZERO);
    assert_eq!(snapshot.log, LogTarget::File(PathBuf::from("./a.log")));
    let limits = &snapshot.limits;
    assert_eq!((limits.connections_max, limits.connections_per_worker_max), (100, 60));
    assert_eq!(limits.connections_per_source_max, Some(7));
    let handshakes = (limits.handshakes_per_worker_max, limits.handshakes_per_source_max);
    assert_eq!((handshakes, limits.handshake_queue), ((9, 8), Duration::ZERO));
    assert_eq!((snapshot.ring.entries, snapshot.ring.recv_buffers), (64, 8));
    assert_eq!((snapshot.ring.sqpoll_idle_ms, snapshot.ring.napi_busy_poll_us), (10, 20));
    assert!(snapshot.ring.zero_copy_send);
    assert_written_listener(&snapshot.listeners[0]);
    let cluster = &snapshot.clusters[0];
    assert_eq!(cluster.balance, Balance::LeastConnections);
    assert_eq!(cluster.connect_timeout, Duration::from_millis(6));
    assert_eq!(cluster.resolve_interval, Duration::from_millis(7000));
    assert_eq!(
        cluster.targets,
        [Target::Unix("/a.sock".into()), Target::Name { host: "b.test".into(), port: 1 }]
    );
    assert_eq!(cluster.endpoints.len(), 1, "names are the control thread's");
}

fn assert_written_listener(listener: &Listener) {
    assert_eq!(listener.scopes.default.client_auth(), ClientAuth::Optional);
    assert_eq!(listener.scopes.default.rules().allowed().map(<[_]>::len), Some(2));
    assert_eq!(listener.scopes.default.rules().denied().len(), 1);
    assert_eq!(listener.handshake_timeout, Duration::from_millis(1));
    assert_eq!(listener.idle_timeout, Duration::from_millis(2));
    assert_eq!(listener.connection_age_max, Some(Duration::from_millis(3)));
    assert_eq!(listener.socket.user_timeout, Some(Duration::from_millis(4)));
    assert_eq!(listener.socket.keepalive, None);
    assert_eq!(listener.socket.send_buffer_bytes, Some(4096));
    assert_eq!(listener.socket.recv_buffer_bytes, Some(8192));
    assert_eq!(listener.socket.backlog, 5);
    let config = &listener.tls.config(0, Hooks::none()).expect("a configuration");
    assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert!(config.key_log.will_log("CLIENT_RANDOM"));
}

#[test]
fn suites_groups_and_versions_reach_the_configuration_of_tls() {
    let snapshot = right(&but(
        "#",
        "tls_versions = [\"1.3\"]\nsuites = [\"TLS_AES_256_GCM_SHA384\"]\ngroups = [\"P-384\"]",
    ));
    let provider = snapshot.listeners[0].tls.provider();
    assert_eq!(provider.cipher_suites.len(), 1);
    assert_eq!(provider.kx_groups.len(), 1);
    assert_eq!(provider.kx_groups[0].name(), rustls::NamedGroup::secp384r1);
}

#[test]
fn names_may_be_spelt_as_the_log_spells_them() {
    let snapshot = right(&but(
        "#",
        "tls_versions = [\"TLS 1.3\"]\nsuites = [\"tls_aes_128_gcm_sha256\"]\n\
         groups = [\"x25519\"]",
    ));
    let provider = snapshot.listeners[0].tls.provider();
    let suites: Vec<_> = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
    assert_eq!(suites, [rustls::CipherSuite::TLS13_AES_128_GCM_SHA256]);
    assert_eq!(provider.kx_groups[0].name(), rustls::NamedGroup::X25519);
    assert_eq!(
        refusal_with("tls_versions = [\"1.3\", \"TLS 1.3\"]"),
        "r.toml:9:24: tls_versions lists \"TLS 1.3\" again; expected each once; \
         fix: remove this one"
    );
}

#[test]
fn a_listener_without_client_authentication_needs_no_roots() {
    let snapshot = right(&but("client_ca = \"clients.pem\"", "client_auth = \"off\""));
    assert_eq!(snapshot.listeners[0].scopes.default.client_auth(), ClientAuth::Off);
}

#[test]
fn every_number_is_refused_outside_its_bounds_and_taken_at_them() {
    for bound in bounds::ALL {
        let with = |number: i64| {
            let line = format!("{} = {number}\n", bound.key);
            let line = match bound.key {
                // A part cannot exceed the whole, whose default is less than its maximum.
                "handshakes_per_source_max" => {
                    format!("handshakes_per_worker_max = {}\n{line}", bound.max)
                }
                "http2_header_list_bytes_max" => format!("head_bytes_max = {}\n{line}", bound.max),
                "session_age_max_s" | "session_tickets" => {
                    format!("resumption = \"cache\"\n{line}")
                }
                _ => line,
            };
            match bound.table {
                "" => line + RIGHT,
                "listener" => but("#\n", &line),
                "listener.http" => {
                    but("#\n", "protocol = \"http\"\n") + "[listener.http]\n" + &line
                }
                // A part of the listener's, which is its most.
                "listener.route" => {
                    but("#\n", "protocol = \"http\"\n")
                        + "[listener.http]\nhead_bytes_max = 65536\n"
                        + "[[listener.route]]\nname = \"a\"\n"
                        + &line
                }
                // Of an upstream that no bytes are relayed to: some are for HTTP alone.
                "upstream" => {
                    let other = "[[upstream]]\nname = \"other\"\nendpoints = [\"127.0.0.1:1\"]\n";
                    format!("{RIGHT}{other}{line}")
                }
                table => format!("{RIGHT}[{table}]\n{line}"),
            }
        };
        let fds_max = 1 << 40;
        for number in [bound.min, bound.max] {
            if let Err(errors) = resolved_with(&with(number), &files(), fds_max) {
                panic!("{} = {number}: {errors:?}", bound.key);
            }
        }
        for number in [bound.min - 1, bound.max + 1, i64::MIN, i64::MAX] {
            let errors = resolved_with(&with(number), &files(), fds_max).err();
            let errors = errors.expect("outside the bounds");
            let expected = format!(
                "{} = {number}; expected an integer from {} to {}; fix: set it within",
                bound.key, bound.min, bound.max
            );
            assert_eq!(errors.len(), 1, "{errors:#?}");
            assert!(errors[0].contains(&expected), "{} lacks {expected}", errors[0]);
        }
    }
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let text = but("#", "keepalive_s = -1").replace("\"app\"\nclient", "\"ap\"\nclient");
    let text = text.replace(":9000", ":0").replace("server.key", "none.key");
    let errors = resolved(&text).expect_err("four problems");
    let places: Vec<_> = errors.iter().map(|error| error.split_once(": ")).collect();
    let places: Vec<_> = places.into_iter().flatten().map(|(place, _)| place).collect();
    assert_eq!(places, ["r.toml:3:14", "r.toml:7:12", "r.toml:9:15", "r.toml:12:7"]);
}

#[test]
fn an_empty_configuration_lacks_a_listener_and_an_upstream() {
    let errors = resolved("").expect_err("nothing is configured");
    assert_eq!(
        errors,
        [
            "r.toml: no upstream is configured; expected at least one table [[upstream]]; \
             fix: add `[[upstream]]` with `name` and `endpoints` (or the flag --to)",
            "r.toml: no listener is configured; expected at least one table [[listener]]; \
             fix: add `[[listener]]` with `name`, `address` and `upstream` (or the flag --listen)",
        ]
    );
}

#[test]
fn empty_tables_lack_their_keys() {
    let errors = resolved("[[listener]]\n[[listener.certificate]]\n[[upstream]]\n").err();
    let errors = errors.expect("keys are missing");
    let lacks = |place: &str, key: &str| {
        let found = format!("r.toml:{place}: [[");
        let key = format!(" has no key `{key}`; expected ");
        errors.iter().any(|error| error.starts_with(&found) && error.contains(&key))
    };
    for key in ["name", "address", "upstream", "client_ca"] {
        assert!(lacks("1:1", key), "{key}: {errors:#?}");
    }
    assert!(lacks("2:1", "chain") && lacks("2:1", "key"), "{errors:#?}");
    assert!(lacks("3:1", "name") && lacks("3:1", "endpoints"), "{errors:#?}");
    assert_eq!(errors.len(), 8, "{errors:#?}");
}

#[test]
fn names_are_unique_plain_and_known() {
    let two = RIGHT.to_string() + "[[upstream]]\nname = \"app\"\nendpoints = [\"b:1\"]\n";
    assert_eq!(
        refusal(&two),
        "r.toml:14:8: name = \"app\", as at r.toml:2:8; expected each once; \
         fix: rename or remove one of them"
    );
    assert_eq!(
        refusal(&but("\"main\"", "\"a b\"")),
        "r.toml:5:8: name = \"a b\"; expected 1 to 64 letters, digits and `-`, `_`, `.`; \
         fix: choose such a name"
    );
    assert_eq!(
        refusal(&but("upstream = \"app\"", "upstream = \"ap\"")),
        "r.toml:7:12: upstream = \"ap\", which no [[upstream]] has; expected one of app; \
         fix: correct the name, or add the upstream"
    );
}

#[test]
fn two_listeners_need_two_names_and_two_addresses() {
    let again = &RIGHT[RIGHT.find("[[listener]]").expect("a listener")..];
    let errors = resolved(&(RIGHT.to_string() + again)).expect_err("the same twice");
    assert_eq!(
        errors,
        [
            "r.toml:14:8: name = \"main\", as at r.toml:5:8; expected each once; \
             fix: rename or remove one of them",
            "r.toml:15:11: address = \":8443\" is taken by the listener at r.toml:6:11; expected \
             an address of its own for each listener; fix: change the port of one of them",
        ]
    );
    let other = again.replace("main", "other").replace(":8443", "127.0.0.1:8444");
    assert_eq!(right(&(RIGHT.to_string() + &other)).listeners.len(), 2);
}

#[test]
fn addresses_and_endpoints_say_what_they_may_be() {
    assert_eq!(
        refusal(&but("\":8443\"", "\"localhost:8443\"")),
        "r.toml:6:11: address = \"localhost:8443\" is not one to listen on; expected an address \
         and a port: \"127.0.0.1:8443\", \"[::1]:8443\", or \":8443\" for every address of both \
         families; fix: write an IP address, not a name, and a port"
    );
    assert_eq!(
        refusal(&but("127.0.0.1:9000", "app")),
        "r.toml:3:14: endpoints = \"app\" is not an endpoint; expected \"127.0.0.1:9000\", \
         \"[::1]:9000\", \"app.internal:9000\" or \"unix:/run/app.sock\"; fix: add a port: `:9000`"
    );
    assert!(refusal(&but("\"127.0.0.1:9000\"", "")).contains("endpoints lists 0; expected 1 to"));
    let twice = refusal(&but("\"127.0.0.1:9000\"", "\"a:1\", \"a:1\""));
    assert!(twice.starts_with("r.toml:3:21: endpoints = \"a:1\", as at r.toml:3:14;"), "{twice}");
}

#[test]
fn unknown_words_list_the_known_ones() {
    assert_eq!(
        refusal_with("suites = [\"TLS_AES_128_GCM_SHA25\"]").split("; expected").next(),
        Some("r.toml:9:11: suites = \"TLS_AES_128_GCM_SHA25\"")
    );
    let suites = refusal_with(
        "suites = [\"RC4\", \"TLS_AES_128_GCM_SHA256\"]\n\
                               tls_versions = [\"1.3\"]",
    );
    assert!(suites.contains("one of TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, "), "{suites}");
    assert_eq!(
        refusal_with("groups = [\"X25519\", \"P-265\"]"),
        "r.toml:9:21: groups = \"P-265\"; expected one of X25519MLKEM768, X25519, secp256r1, \
         secp384r1; fix: write one of these"
    );
    assert_eq!(
        refusal_with("tls_versions = [\"1.3\", \"1.1\"]"),
        "r.toml:9:24: tls_versions = \"1.1\"; expected one of 1.3, 1.2; fix: write \"1.3\""
    );
    assert_eq!(
        refusal_with("client_auth = \"required\""),
        "r.toml:9:15: client_auth = \"required\"; expected one of require, optional, off; \
         fix: write \"require\""
    );
    assert!(refusal_with("client_key_types = [\"dsa\"]").contains("one of ecdsa_p256, "));
    let balance = refusal(&but("[[listener]]\n", "balance = \"random\"\n[[listener]]\n"));
    assert!(balance.contains("one of round_robin, least_connections"), "{balance}");
}

#[test]
fn connections_must_fit_in_the_file_limit() {
    let text = RIGHT.to_string() + "[limits]\nconnections_max = 1000\n";
    let errors = resolved_with(&text, &files(), 1024).expect_err("1024 is too few");
    assert_eq!(
        errors,
        ["r.toml:14:19: connections_max = 1000 needs 2064 file descriptors (2 each and 64 more), \
          and the process may open 1024; expected at most 480; fix: raise the limit: \
          `ulimit -n 2064`, or LimitNOFILE=2064 in the unit; or set connections_max to 480 or \
          less"]
    );
    assert!(resolved_with(&text, &files(), 2064).is_ok());
    let errors = resolved_with(RIGHT, &files(), 64).expect_err("64 are none");
    assert_eq!(
        errors,
        ["r.toml: the process may open 64 file descriptors; expected at least 66; \
          fix: raise the limit: `ulimit -n 65536`, or LimitNOFILE=65536 in the unit"]
    );
}

#[test]
fn a_share_cannot_exceed_the_whole() {
    for key in ["connections_per_worker_max", "connections_per_source_max"] {
        let text = format!("{RIGHT}[limits]\nconnections_max = 10\n{key} = 11\n");
        assert_eq!(
            refusal(&text),
            format!(
                "r.toml:15:{}: {key} = 11; expected at most connections_max, which is 10; \
                 fix: set it to 10 or less, or raise connections_max",
                key.len() + 4
            )
        );
    }
    let text = format!("{RIGHT}[limits]\nhandshakes_per_source_max = 1025\n");
    let found = refusal(&text);
    assert!(found.contains("expected at most handshakes_per_worker_max, which is 1024"), "{found}");
}

#[test]
fn one_handshake_of_a_worker_may_be_of_any_source() {
    let text = format!("{RIGHT}[limits]\nhandshakes_per_worker_max = 1\n");
    assert_eq!(right(&text).limits.handshakes_per_source_max, 1);
}

#[test]
fn workers_cpus_buffers_and_the_log_target() {
    assert_eq!(
        refusal(&("workers = 3\ncpus = \"0-1\"\n".to_string() + RIGHT)),
        "r.toml:1:11: workers = 3, and cpus lists 2; expected a CPU for each worker; \
         fix: set workers to 2 or list more CPUs"
    );
    assert_eq!(
        refusal(&("cpus = \"0-1,x\"\n".to_string() + RIGHT)),
        "r.toml:1:8: cpus = \"0-1,x\" has the part `x`; expected CPU numbers below 1024 and \
         ascending ranges of them: \"0-3,8\"; fix: write a number or a range"
    );
    assert_eq!(
        refusal(&(RIGHT.to_string() + "[ring]\nrecv_buffers = 100\n")),
        "r.toml:14:16: recv_buffers = 100; expected a power of two, which the kernel's buffer \
         rings need; fix: set it to 64 or 128"
    );
    assert_eq!(
        refusal(&(RIGHT.to_string() + "[log]\ntarget = \"stdout\"\n")),
        "r.toml:14:10: target = \"stdout\"; expected \"stderr\", \"off\", or the path of a file \
         with a `/` in it; fix: write one of these; \"./access.log\" is a file beside the \
         configuration"
    );
}

#[test]
fn a_file_that_is_wrong_all_over_has_errors_of_a_bounded_size() {
    let upstreams: String = (0..5_000).map(|n| format!("[[upstream]]\nname=\"u{n}\"\n")).collect();
    let listener = "[[listener]]\nupstream = \"no\"\n";
    let errors = resolved(&(upstreams + &listener.repeat(5_000))).expect_err("it is wrong");
    assert_eq!(errors.len(), CONFIG_ERRORS_MAX + 1);
    // All that is wrong and that the bounds of tables let be looked at, and the two bounds.
    let all = 2 + UPSTREAMS_MAX + LISTENERS_MAX * 5;
    let more = format!("r.toml: and {} more, which are not listed;", all - CONFIG_ERRORS_MAX);
    assert!(errors[CONFIG_ERRORS_MAX].starts_with(&more), "{}", errors[CONFIG_ERRORS_MAX]);
    let bytes: usize = errors.iter().map(String::len).sum();
    assert!(bytes < CONFIG_ERRORS_MAX * 1024, "{bytes} bytes");
}

#[test]
fn a_wrong_upstream_lists_a_bounded_number_of_names() {
    let count = NAMES_SHOWN_MAX + 1;
    let upstream = |n| format!("[[upstream]]\nname=\"u{n}\"\nendpoints=[\"a:1\"]\n");
    let upstreams: String = (0..count).map(upstream).collect();
    let listener = &RIGHT[RIGHT.find("[[listener]]").expect("a listener")..];
    let error = refusal(&(upstreams + listener));
    let names = error.split("expected one of the 17: ").nth(1).expect("the names");
    let names = names.split("; fix").next().expect("their end");
    assert_eq!(names.split(", ").count(), NAMES_SHOWN_MAX + 1, "the last is `...`: {error}");
}

#[test]
fn a_list_of_a_megabyte_of_wrong_entries_has_a_bounded_number_of_errors() {
    for (key, entry) in [
        ("endpoints", "\"x\",\n"),
        ("endpoints", "\"x\","),
        ("allow", "\"x\",\n"),
        ("allow", "\"x\","),
        ("deny", "\"x\",\n"),
        ("alpn", "\"\","),
        ("suites", "\"x\","),
        ("tls_versions", "\"1.3\","),
        ("client_key_types", "\"rsa\","),
    ] {
        let room = CONFIG_BYTES_MAX - RIGHT.len() - key.len() - 16;
        let count = room / entry.len();
        let entries = entry.repeat(count);
        let text = match key {
            "endpoints" => but("\"127.0.0.1:9000\"", &entries),
            key => but("#", &format!("{key} = [\n{entries}]")),
        };
        let errors = resolved(&text).expect_err("it is wrong");
        assert_eq!(errors.len(), CONFIG_ERRORS_MAX + 1, "{key}");
        let last = &errors[CONFIG_ERRORS_MAX];
        let more = last.strip_prefix("r.toml: and ").and_then(|rest| rest.split(' ').next());
        let more: usize = more.and_then(|more| more.parse().ok()).expect(last);
        assert!(more + CONFIG_ERRORS_MAX >= count - 1, "{key}: {count} entries, {last}");
        let bytes: usize = errors.iter().map(String::len).sum();
        assert!(bytes < CONFIG_ERRORS_MAX * 1024, "{key}: {bytes} bytes");
    }
}
