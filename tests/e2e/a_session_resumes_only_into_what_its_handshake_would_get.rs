//! A session is resumed only where the full handshake of its client would lead to the same; where
//! not, that full handshake takes place and decides. Where nothing has changed, it is resumed.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcgen::{GeneralSubtree, NameConstraints};
use rustls::AlertDescription as Alert;

use crate::harness::chaos::{Ca, file, from_now};
use crate::harness::live::Live;
use crate::harness::pki::SERVER_NAME;
use crate::harness::returning::{
    OpenSslReturning, PythonReturning, Returning, VERSIONS, Version, Visit, edit_ticket,
};
use crate::harness::{ClientOptions, Credentials, Gateway, Origin, Setup, free_local, pki};

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Cache,
    Tickets,
}

const MODES: [Mode; 2] = [Mode::Cache, Mode::Tickets];

impl Mode {
    fn lines(self) -> &'static str {
        match self {
            Self::Cache => "resumption = \"cache\"",
            Self::Tickets => "resumption = \"tickets\"",
        }
    }
}

/// Authorities, a client of theirs, and an upstream.
struct World {
    root: Ca,
    middle: Ca,
    client: Credentials,
    origin: Origin,
}

impl World {
    fn new() -> Self {
        let root = Ca::root("resumption root", |_| {});
        let middle = root.below("resumption intermediate", |_| {});
        let client = middle.client(|params| params.serial_number = Some(7_u64.into()));
        Self { root, middle, client, origin: Origin::echo() }
    }

    fn setup(&self, mode: Mode) -> Setup {
        // There can be lists only of authorities that are in the configuration.
        let known = format!("client_intermediates = {:?}", self.middle.file());
        let setup = Setup::to(self.origin.address()).listener(mode.lines()).listener(&known);
        setup.client_ca(Some(&self.root.file()))
    }

    fn returning(&self, version: Version) -> Returning {
        Returning::new(&version.of(ClientOptions::with(&self.client)))
    }

    fn crls(&self, serials: &[u64]) -> String {
        let of_root = file("root.crl", self.root.crl(&[], -60, 600));
        let of_middle = file("middle.crl", self.middle.crl(serials, -60, 600));
        format!("client_crl = [{of_root:?}, {of_middle:?}]")
    }
}

/// What is changed between a session's full handshake and its return.
struct Change {
    name: &'static str,
    make: fn(&World, Setup) -> Setup,
    /// What the client is due then.
    due: Visit,
}

fn change(name: &'static str, due: Visit, make: fn(&World, Setup) -> Setup) -> Change {
    Change { name, make, due }
}

fn table(lines: &str) -> String {
    format!("[[listener.server_name]]\nnames = [{SERVER_NAME:?}]\n{lines}")
}

/// Every kind of change, and what the full handshake of the client comes to then.
fn changes() -> Vec<Change> {
    let refused = Visit::Refused;
    vec![
        change("nothing", Visit::Resumed, |_, setup| setup),
        change("a list that does not name it", Visit::Resumed, |world, setup| {
            setup.listener(&world.crls(&[8]))
        }),
        change("a list that names it", refused(Alert::CertificateRevoked), |world, setup| {
            setup.listener(&world.crls(&[7]))
        }),
        change("denied", refused(Alert::AccessDenied), |_, setup| {
            setup.listener(r#"deny = ["dns:client.test"]"#)
        }),
        change("not among the allowed", refused(Alert::AccessDenied), |_, setup| {
            setup.listener(r#"allow = ["dns:other.test"]"#)
        }),
        change("among the allowed", Visit::Full, |_, setup| {
            setup.listener(r#"allow = ["dns:client.test"]"#)
        }),
        change("another root", refused(Alert::UnknownCA), |_, setup| {
            setup.client_ca(Some(&pki().root_file))
        }),
        change("one root more", Visit::Full, |world, setup| {
            let files = [world.root.file(), pki().root_file.clone()];
            setup.client_ca(None).listener(&format!("client_ca = {files:?}"))
        }),
        change(
            "its root may vouch for less",
            refused(Alert::CertificateUnknown),
            |world, setup| {
                let narrow = world.root.reissued(|params| {
                    params.name_constraints = Some(NameConstraints {
                        permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.test".into())],
                        excluded_subtrees: Vec::new(),
                    });
                });
                setup.client_ca(Some(&narrow.file()))
            },
        ),
        change("shorter chains", refused(Alert::CertificateUnknown), |_, setup| {
            setup.listener("chain_certificates_max = 1")
        }),
        change("certificates are optional", Visit::Full, |_, setup| {
            setup.listener(r#"client_auth = "optional""#)
        }),
        change("certificates are not asked for", Visit::Full, |_, setup| {
            let setup = setup.without_listener_line("client_intermediates").client_ca(None);
            setup.listener(r#"client_auth = "off""#)
        }),
        change("a table for its server name", Visit::Full, |_, setup| setup.more(&table(""))),
        change("a table that denies it", refused(Alert::AccessDenied), |_, setup| {
            setup.more(&table(r#"deny = ["dns:client.test"]"#))
        }),
        change("a table with other roots", refused(Alert::UnknownCA), |_, setup| {
            setup.more(&table(&format!("client_ca = {:?}", pki().root_file)))
        }),
        change("no resumption", Visit::Full, |_, setup| {
            setup.without_listener_line("resumption").listener(r#"resumption = "off""#)
        }),
    ]
}

#[test]
fn where_the_configuration_has_changed_in_one_process() {
    let world = World::new();
    for mode in MODES {
        let setup = world.setup(mode);
        let mut live = Live::start(&setup);
        for Change { name, make, due } in changes() {
            for version in VERSIONS {
                let what = format!("{mode:?} {version:?}: {name}");
                let client = world.returning(version);
                assert_eq!(client.visit(live.address()), Visit::Full, "{what}");
                assert_eq!(client.visit(live.address()), Visit::Resumed, "{what}: before");
                live.publish(&make(&world, setup.clone()));
                assert_eq!(client.visit(live.address()), due, "{what}");
                let record = live.records().pop().expect("one at least");
                if due != Visit::Resumed {
                    assert_ne!(record["resumed"], true, "accepted, and then failed: {record}");
                }
                live.publish(&setup);
            }
        }
    }
}

#[test]
fn where_another_process_with_the_same_secret_has_another_configuration() {
    let world = World::new();
    let secret = |byte: u8| {
        let secret = file("tickets.secret", [byte; 32]);
        format!("ticket_secret = {secret:?}")
    };
    let setup = |byte| world.setup(Mode::Tickets).listener(&secret(byte)).top("workers = 1");
    let first = setup(1).start();
    for Change { name, make, due } in changes() {
        // A secret without tickets is refused as a mistake.
        if name == "no resumption" {
            continue;
        }
        let alike = make(&world, setup(1)).start();
        let other = make(&world, setup(2)).start();
        for version in VERSIONS {
            let client = world.returning(version);
            assert_eq!(client.visit(first.address()), Visit::Full);
            assert_eq!(client.visit(alike.address()), due, "{version:?}: {name}");
            let client = world.returning(version);
            assert_eq!(client.visit(first.address()), Visit::Full);
            let due = if due == Visit::Resumed { Visit::Full } else { due };
            assert_eq!(client.visit(other.address()), due, "{version:?}, other secret: {name}");
        }
    }
}

#[test]
fn a_store_is_that_of_its_process() {
    let world = World::new();
    let setup = || world.setup(Mode::Cache).top("workers = 1");
    let (first, second) = (setup().start(), setup().start());
    for version in VERSIONS {
        let client = world.returning(version);
        assert_eq!(client.visit(first.address()), Visit::Full);
        assert_eq!(client.visit(second.address()), Visit::Full, "{version:?}");
    }
}

#[test]
fn a_gateway_that_was_started_again_with_its_secret_goes_on() {
    let world = World::new();
    let secret = format!("ticket_secret = {:?}", file("tickets.secret", [1; 32]));
    let plain = world.setup(Mode::Tickets).top("workers = 1");
    let kept = plain.clone().listener(&secret);
    let restarted = |setup: &Setup, version, after: &Setup| {
        let client = world.returning(version);
        let gateway = setup.start();
        assert_eq!(client.visit(gateway.address()), Visit::Full);
        gateway.terminate().assert_clean();
        let gateway = after.start();
        let visit = client.visit(gateway.address());
        gateway.terminate().assert_clean();
        visit
    };
    let denying = kept.clone().listener(r#"deny = ["any"]"#);
    for version in VERSIONS {
        assert_eq!(restarted(&kept, version, &kept), Visit::Resumed);
        assert_eq!(restarted(&plain, version, &plain), Visit::Full, "its own secret is gone");
        let denied = Visit::Refused(Alert::AccessDenied);
        assert_eq!(restarted(&kept, version, &denying), denied);
    }
}

#[test]
fn where_the_listener_or_the_table_is_another() {
    let world = World::new();
    let names = [SERVER_NAME, "one.test", "two.test", "a.wild.test"];
    let tables: String = ["one.test", "two.test", "*.wild.test"]
        .iter()
        .map(|name| format!("[[listener.server_name]]\nnames = [{name:?}]\n"))
        .collect();
    for mode in MODES {
        let second = free_local();
        let server = &pki().server;
        let listener = format!(
            "{tables}[[listener]]\nname = \"second\"\naddress = \"{second}\"\nupstream = \"app\"\n\
             {}\nclient_ca = {:?}\n[[listener.certificate]]\nchain = {:?}\nkey = {:?}\n{tables}",
            mode.lines(),
            world.root.file(),
            server.chain_file,
            server.key_file,
        );
        let live = Live::start(&world.setup(mode).more(&listener));
        let places: Vec<_> = [live.address(), second]
            .into_iter()
            .flat_map(|address| names.map(|name| (address, name)))
            .collect();
        for version in VERSIONS {
            let client = |name| {
                let options = ClientOptions::with(&world.client).server_name(name).any_server();
                Returning::new(&version.of(options))
            };
            for &(from, from_name) in &places {
                for &(to, to_name) in &places {
                    let first = client(from_name);
                    assert_eq!(first.visit(from), Visit::Full);
                    let second = first.asking(to_name);
                    assert!(second.wallet.has_session(), "{mode:?} {version:?}");
                    let is_same = (from, from_name) == (to, to_name);
                    let due = if is_same { Visit::Resumed } else { Visit::Full };
                    let visit = second.visit(to);
                    let what = format!("{mode:?} {version:?}: {from_name} at {from}");
                    assert_eq!(visit, due, "{what} at {to_name} at {to}");
                    // What it gets there is bound to there, whatever it had offered.
                    let again = second.visit(to);
                    assert_eq!(again, Visit::Resumed, "{what} at {to_name} at {to}: again");
                }
            }
        }
    }
}

#[test]
fn what_real_programs_see() {
    let world = World::new();
    let wanted = ["nothing", "denied", "a list that names it", "another root", "among the allowed"];
    for mode in MODES {
        let setup = world.setup(mode);
        let mut live = Live::start(&setup);
        for Change { name, make, due } in changes() {
            if !wanted.contains(&name) {
                continue;
            }
            for version in VERSIONS {
                let what = format!("{mode:?} {version:?}: {name}");
                let openssl = OpenSslReturning::new(&world.client, version);
                let mut python = PythonReturning::new(&world.client, version);
                assert_eq!(openssl.visit(live.address(), false), Visit::Full, "{what}");
                assert_eq!(openssl.visit(live.address(), false), Visit::Resumed, "{what}: before");
                assert_eq!(python.visit(live.address(), false), "full", "{what}");
                assert_eq!(python.visit(live.address(), false), "resumed", "{what}: before");
                live.publish(&make(&world, setup.clone()));
                assert_eq!(openssl.visit(live.address(), false), due, "{what}");
                let said = python.visit(live.address(), false);
                let expected = match due {
                    Visit::Resumed => "resumed",
                    Visit::Full => "full",
                    Visit::Refused(_) => "refused",
                };
                assert!(said.starts_with(expected), "{what}: {said}");
                live.publish(&setup);
            }
        }
    }
}

#[test]
fn a_ticket_of_the_store_is_used_once_and_a_sealed_one_as_long_as_it_lives() {
    let world = World::new();
    for mode in MODES {
        let live = Live::start(&world.setup(mode));
        let openssl = OpenSslReturning::new(&world.client, Version::Tls13);
        let mut python = PythonReturning::new(&world.client, Version::Tls13);
        assert_eq!(openssl.visit(live.address(), false), Visit::Full);
        assert_eq!(openssl.visit(live.address(), true), Visit::Resumed);
        assert_eq!(python.visit(live.address(), false), "full");
        assert_eq!(python.visit(live.address(), true), "resumed");
        let (visit, said) = match mode {
            Mode::Cache => (Visit::Full, "full"),
            Mode::Tickets => (Visit::Resumed, "resumed"),
        };
        assert_eq!(openssl.visit(live.address(), true), visit, "{mode:?}");
        assert_eq!(python.visit(live.address(), true), said, "{mode:?}");
    }
}

/// Until then.
fn sleep_until(from: Instant, seconds: f64) {
    let until = from + Duration::from_secs_f64(seconds);
    sleep(until.saturating_duration_since(Instant::now()));
}

#[test]
fn a_session_that_was_renewed_ends_with_its_full_handshake() {
    let world = World::new();
    // Long before it ends by itself at the client, whose count begins with the renewal.
    let lives = MODES.map(|mode| Live::start(&world.setup(mode).listener("session_age_max_s = 4")));
    let began = Instant::now();
    let clients: Vec<_> = lives
        .iter()
        .flat_map(|live| VERSIONS.map(|version| (live, version, world.returning(version))))
        .collect();
    for (live, _, client) in &clients {
        assert_eq!(client.visit(live.address()), Visit::Full);
    }
    sleep_until(began, 2.5);
    for (live, version, client) in &clients {
        assert_eq!(client.visit(live.address()), Visit::Resumed, "{version:?}");
    }
    let declined = |live: &Live| live.counters().resumptions_declined;
    sleep_until(began, 5.3);
    for (live, version, client) in &clients {
        let before = declined(live);
        assert!(client.wallet.has_session());
        assert_eq!(client.visit(live.address()), Visit::Full, "{version:?}");
        // A session of TLS 1.2 that is kept here is not renewed, and has ended at the client.
        if *version == Version::Tls13 {
            assert_eq!(declined(live), before + 1, "it was offered, and declined");
        }
    }
}

#[test]
fn a_session_ends_with_the_certificate() {
    let world = World::new();
    let began = Instant::now();
    let short = world.middle.client(|params| params.not_after = from_now(4));
    for mode in MODES {
        let live = Live::start(&world.setup(mode));
        let clients =
            VERSIONS.map(|version| Returning::new(&version.of(ClientOptions::with(&short))));
        if began.elapsed() < Duration::from_secs(3) {
            for client in &clients {
                assert_eq!(client.visit(live.address()), Visit::Full);
                assert_eq!(client.visit(live.address()), Visit::Resumed, "{mode:?}");
            }
        }
        sleep_until(began, 5.1);
        for client in &clients {
            let visit = client.visit(live.address());
            assert_eq!(visit, Visit::Refused(Alert::CertificateExpired), "{mode:?}");
        }
    }
}

#[test]
fn who_is_denied_gets_no_ticket() {
    let world = World::new();
    for mode in MODES {
        let setup = world.setup(mode).listener(r#"allow = ["dns:other.test"]"#);
        let denied = setup.start();
        let optional = setup.clone().listener(r#"client_auth = "optional""#);
        let optional = optional.at(free_local()).start();
        for version in VERSIONS {
            for (gateway, options) in [
                (&denied, ClientOptions::with(&world.client)),
                (&optional, ClientOptions::with(&world.client)),
                (&optional, ClientOptions::anonymous()),
            ] {
                let client = Returning::new(&version.of(options));
                let visit = client.visit(gateway.address());
                assert_eq!(visit, Visit::Refused(Alert::AccessDenied), "{version:?}");
                // A session id of TLS 1.2 is in the ServerHello: before the client is known.
                if (mode, version) != (Mode::Cache, Version::Tls12) {
                    assert!(!client.wallet.has_session(), "{mode:?} {version:?}");
                }
            }
        }
    }
}

#[test]
fn tickets_are_as_many_as_configured() {
    let world = World::new();
    for mode in MODES {
        for tickets in [1, 3, 8] {
            let lines = format!("session_tickets = {tickets}");
            let gateway = world.setup(mode).listener(&lines).top("workers = 1").start();
            let client = world.returning(Version::Tls13);
            assert_eq!(client.visit(gateway.address()), Visit::Full);
            assert_eq!(client.wallet.tickets(), tickets, "{mode:?}");
            for _ in 0..tickets {
                assert_eq!(client.visit(gateway.address()), Visit::Resumed, "{mode:?}");
            }
        }
    }
}

/// A session with another ticket in its place is worth a full handshake, and no alert.
#[test]
fn a_ticket_that_is_not_one_of_ours_makes_a_full_handshake() {
    let world = World::new();
    for mode in MODES {
        let live = Live::start(&world.setup(mode));
        for version in VERSIONS {
            for (name, edit) in odd_tickets() {
                let what = format!("{mode:?} {version:?}: {name}");
                let openssl = OpenSslReturning::new(&world.client, version);
                assert_eq!(openssl.visit(live.address(), false), Visit::Full, "{what}");
                // Sessions of TLS 1.2 that are kept here have no ticket, but get one.
                edit_ticket(&openssl.session, edit);
                let visit = openssl.visit(live.address(), true);
                let is_untouched = name == "as it was"
                    // By its session id, where the ticket is none.
                    || (mode, version) == (Mode::Cache, Version::Tls12);
                let due = if is_untouched { Visit::Resumed } else { Visit::Full };
                assert_eq!(visit, due, "{what}");
            }
        }
    }
}

type Edit = fn(Vec<u8>) -> Vec<u8>;

fn odd_tickets() -> [(&'static str, Edit); 8] {
    [
        ("as it was", |ticket| ticket),
        ("another last byte", |mut ticket| {
            if let Some(last) = ticket.last_mut() {
                *last ^= 1;
            }
            ticket
        }),
        ("another first byte", |mut ticket| {
            if let Some(first) = ticket.first_mut() {
                *first ^= 1;
            }
            ticket
        }),
        ("cut short", |mut ticket| {
            ticket.pop();
            ticket
        }),
        ("empty", |_| Vec::new()),
        ("one byte", |_| vec![1]),
        ("of another server", |_| [0x5a, 0xa5].repeat(96)),
        ("as long as a ClientHello allows", |_| vec![1; 15_000]),
    ]
}

#[test]
fn a_ticket_that_no_client_hello_has_room_for_ends_the_connection_and_nothing_else() {
    let world = World::new();
    let mut live = Live::start(&world.setup(Mode::Tickets));
    for version in VERSIONS {
        let openssl = OpenSslReturning::new(&world.client, version);
        assert_eq!(openssl.visit(live.address(), false), Visit::Full);
        edit_ticket(&openssl.session, |_| vec![1; 64_000]);
        let visit = openssl.visit(live.address(), true);
        assert!(matches!(visit, Visit::Refused(_)), "{version:?}: {visit:?}");
        let record = live.records().pop().expect("one at least");
        assert_eq!(record["close_reason"], "hello_too_large", "{record}");
        let client = world.returning(version);
        assert_eq!(client.visit(live.address()), Visit::Full);
        assert_eq!(client.visit(live.address()), Visit::Resumed);
    }
}

#[test]
fn two_listeners_of_one_name_share_nothing_but_their_secret() {
    // What is shared must be the whole demand: a gateway of the same secret whose listener has
    // another name is another place, even where everything else is the same.
    let world = World::new();
    let secret: &Path = &file("tickets.secret", [1; 32]);
    let setup = world.setup(Mode::Tickets).listener(&format!("ticket_secret = {secret:?}"));
    let gateways: [Gateway; 2] =
        ["main", "other"].map(|name| setup.clone().at(free_local()).named(name).start());
    for version in VERSIONS {
        let client = world.returning(version);
        assert_eq!(client.visit(gateways[0].address()), Visit::Full);
        assert_eq!(client.visit(gateways[1].address()), Visit::Full, "{version:?}");
        assert_eq!(client.visit(gateways[1].address()), Visit::Resumed, "{version:?}");
    }
}
