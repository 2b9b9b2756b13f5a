//! A client that would not be let in any more does not stay connected: it gets its alert and the
//! upstream a reset, soon after it lapsed, and nobody else notices.

use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::AlertDescription as Alert;
use serde_json::Value;

use crate::harness::chaos::{Ca, file, unix_time};
use crate::harness::client::alert_of;
use crate::harness::live::Live;
use crate::harness::origin::Hanging;
use crate::harness::pki::SERVER_NAME;
use crate::harness::reload::put;
use crate::harness::returning::{Returning, VERSIONS, Visit};
use crate::harness::{Client, ClientOptions, Credentials, Origin, Setup, pki, wait_until};

/// Within which it must be over.
const SOON: Duration = Duration::from_secs(1);

/// An authority, two clients of it, and an upstream.
struct World {
    root: Ca,
    middle: Ca,
    origin: Origin,
    setup: Setup,
}

impl World {
    fn new() -> Self {
        let root = Ca::root("lease root", |_| {});
        let middle = root.below("lease intermediate", |params| {
            params.serial_number = Some(100_u64.into());
        });
        let origin = Origin::echo();
        // There can be lists only of authorities that are in the configuration.
        let known = format!("client_intermediates = {:?}", middle.file());
        let setup = Setup::to(origin.address()).client_ca(Some(&root.file())).listener(&known);
        Self { root, middle, origin, setup }
    }

    fn client(&self, serial: u64) -> Credentials {
        self.middle.client(|params| {
            params.serial_number = Some(serial.into());
            let name = format!("client{serial}.test").try_into().expect("ASCII");
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        })
    }

    /// Lists by which these clients are revoked, the intermediate's valid until then.
    fn crls(&self, serials: &[u64], until_s: i64) -> String {
        let of_root = file("root.crl", self.root.crl(&[], -60, 600));
        let of_middle = file("middle.crl", self.middle.crl(serials, -60, until_s));
        format!("client_crl = [{of_root:?}, {of_middle:?}]")
    }
}

/// A client that is connected and relayed.
fn connected(live: &Live, credentials: &Credentials) -> Client {
    let client = ClientOptions::with(credentials).connect(live.address());
    let mut client = client.expect("let in");
    client.echo(b"hello");
    client
}

/// Waits for the end of a connection; the alert that it was, and when it came.
#[track_caller]
fn ended(client: &mut Client) -> (Alert, Instant) {
    let error = client.read(&mut [0; 1]).expect_err("it is cut off");
    (alert_of(&error).unwrap_or_else(|| panic!("no alert but {error:?}")), Instant::now())
}

#[track_caller]
fn assert_record(record: &Value, reason: &str) {
    assert_eq!(record["close_reason"], reason, "{record}");
    assert_eq!(record["close_source"], "internal", "{record}");
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&5.into(), &5.into()), "{record}");
}

/// Once `changed` is published, the client is cut off with this alert for this reason, in time;
/// one that came before is not where `other` may stay.
#[track_caller]
fn cuts_off(
    world: &World,
    base: &Setup,
    changed: &Setup,
    (alert, reason): (Alert, &str),
    other_stays: bool,
) {
    let mut live = Live::start(base);
    let (mut one, mut other) =
        (connected(&live, &world.client(7)), connected(&live, &world.client(8)));
    let peer = one.local_address();
    // Judged once, and allowed to stay: an idle connection is told all the same the next time.
    live.publish(base);
    std::thread::sleep(Duration::from_millis(50));
    let at = live.publish(changed);
    let (came, when) = ended(&mut one);
    let took = when.duration_since(at);
    assert_eq!(came, alert);
    assert!(took < SOON, "{reason} took {took:?}");
    println!("{reason}: {took:?}");
    assert_record(&live.record_of(peer), reason);
    let served = world.origin.next_served();
    assert_eq!((served.bytes, served.orderly), (5, false), "the upstream sees a reset");
    if other_stays {
        other.echo(b"hello");
        other.end();
        assert!(world.origin.next_served().orderly);
    } else {
        assert_eq!(ended(&mut other).0, alert);
        assert!(!world.origin.next_served().orderly);
    }
}

#[test]
fn a_client_that_a_new_list_names() {
    let world = World::new();
    let base = world.setup.clone().listener(&world.crls(&[], 600));
    let changed = world.setup.clone().listener(&world.crls(&[7], 600));
    cuts_off(&world, &base, &changed, (Alert::CertificateRevoked, "revoked"), true);
    // Though others may take their time.
    let draining = "lapsed_connections = \"drain 1h\"";
    let (base, changed) = (base.listener(draining), changed.listener(draining));
    cuts_off(&world, &base, &changed, (Alert::CertificateRevoked, "revoked"), true);
}

#[test]
fn everybody_of_an_authority_that_was_revoked() {
    let world = World::new();
    let of_root = file("root.crl", world.root.crl(&[100], -60, 600));
    let of_middle = file("middle.crl", world.middle.crl(&[], -60, 600));
    let lists = format!("client_crl = [{of_root:?}, {of_middle:?}]");
    let changed = world.setup.clone().listener(&lists);
    cuts_off(&world, &world.setup, &changed, (Alert::CertificateRevoked, "revoked"), false);
}

#[test]
fn everybody_whose_list_is_missing_all_of_a_sudden() {
    let world = World::new();
    let lists = format!("client_crl = {:?}", file("root.crl", world.root.crl(&[], -60, 600)));
    let changed = world.setup.clone().listener(&lists);
    let expected = (Alert::CertificateUnknown, "revocation_unknown");
    cuts_off(&world, &world.setup, &changed, expected, false);
}

#[test]
fn whom_a_rule_denies_now() {
    let world = World::new();
    let expected = (Alert::AccessDenied, "no_longer_allowed");
    let denied = world.setup.clone().listener(r#"deny = ["dns:client7.test"]"#);
    cuts_off(&world, &world.setup, &denied, expected, true);
    let allowed = world.setup.clone().listener(r#"allow = ["dns:client8.test"]"#);
    cuts_off(&world, &world.setup, &allowed, expected, true);
    let table = format!(
        "[[listener.server_name]]\nnames = [{SERVER_NAME:?}]\ndeny = [\"dns:client7.test\"]\n"
    );
    let table = world.setup.clone().more(&table);
    cuts_off(&world, &world.setup, &table, expected, true);
}

#[test]
fn everybody_whose_root_is_gone_or_vouches_for_others() {
    let world = World::new();
    let expected = (Alert::AccessDenied, "no_longer_allowed");
    let other = world.setup.clone().client_ca(Some(&pki().root_file));
    cuts_off(&world, &world.setup, &other, expected, false);
    let bound = format!(
        "[[listener.trust_domain]]\nname = \"bound.test\"\nclient_ca = {:?}\n",
        world.root.file()
    );
    let bound = world.setup.clone().client_ca(None).more(&bound);
    cuts_off(&world, &world.setup, &bound, expected, false);
    let narrow = world.root.reissued(|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("elsewhere.test".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let narrow = world.setup.clone().client_ca(Some(&narrow.file()));
    cuts_off(&world, &world.setup, &narrow, expected, false);
    let bounds = world.setup.clone().listener("chain_certificates_max = 1");
    cuts_off(&world, &world.setup, &bounds, expected, false);
}

#[test]
fn who_has_no_certificate_once_one_is_required() {
    let world = World::new();
    let optional = world.setup.clone().listener(r#"client_auth = "optional""#);
    for required in
        [world.setup.clone(), optional.clone().listener(r#"deny = ["dns:client7.test"]"#)]
    {
        let mut live = Live::start(&optional);
        let mut known = connected(&live, &world.client(8));
        let mut anonymous = ClientOptions::anonymous().connect(live.address()).expect("let in");
        anonymous.echo(b"hello");
        let at = live.publish(&required);
        let (alert, when) = ended(&mut anonymous);
        assert_eq!(alert, Alert::AccessDenied);
        assert!(when.duration_since(at) < SOON);
        assert_record(&live.record_of(anonymous.local_address()), "no_longer_allowed");
        assert!(!world.origin.next_served().orderly);
        known.echo(b"hello");
        known.end();
        assert!(world.origin.next_served().orderly);
    }
}

#[test]
fn a_client_that_had_time_once_it_has_none_any_more() {
    let world = World::new();
    let denied = world.setup.clone().listener(r#"deny = ["dns:client7.test"]"#);
    let draining = denied.clone().listener(r#"lapsed_connections = "drain 1h""#);
    let mut live = Live::start(&world.setup);
    let mut client = connected(&live, &world.client(7));
    live.publish(&draining);
    // By then it has lapsed.
    std::thread::sleep(SOON + SOON / 2);
    client.echo(b"hello");
    let at = live.publish(&denied.listener(r#"lapsed_connections = "at_once""#));
    let (alert, when) = ended(&mut client);
    assert_eq!(alert, Alert::AccessDenied);
    assert!(when.duration_since(at) < SOON, "{:?}", when.duration_since(at));
    let record = live.record_of(client.local_address());
    assert_eq!(record["close_reason"], "no_longer_allowed", "{record}");
    assert_eq!(record["bytes_up"], 10, "{record}");
    assert!(!world.origin.next_served().orderly);
}

#[test]
fn a_client_that_is_revoked_while_the_gateway_drains() {
    let world = World::new();
    let of_root = file("root.crl", world.root.crl(&[], -60, 600));
    let of_middle = file("middle.crl", world.middle.crl(&[], -60, 600));
    let lists = format!("client_crl = [{of_root:?}, {of_middle:?}]");
    let setup = world.setup.clone().listener(&lists).top("drain_timeout_ms = 600000");
    let mut gateway = setup.start();
    let connect = |credentials: &Credentials| {
        let mut client = ClientOptions::with(credentials).connect(gateway.address());
        client.as_mut().expect("let in").echo(b"hello");
        client.expect("let in")
    };
    let (mut revoked, mut other) = (connect(&world.client(7)), connect(&world.client(8)));
    gateway.signal(Signal::TERM);
    gateway.wait_for("the event drain", |line| line["event"] == "drain");
    put(&file("new.crl", world.middle.crl(&[7], -60, 600)), &of_middle);
    let at = Instant::now();
    let (alert, when) = ended(&mut revoked);
    assert_eq!(alert, Alert::CertificateRevoked);
    let took = when.duration_since(at);
    assert!(took < 10 * SOON, "{took:?}");
    println!("revoked during a drain: {took:?} after its list was there");
    assert_record(&gateway.record_of(revoked.local_address()), "revoked");
    assert!(!world.origin.next_served().orderly, "the upstream sees a reset");
    other.echo(b"hello");
    other.end();
    gateway.wait().assert_clean();
}

#[test]
fn a_connection_keeps_nothing_of_a_configuration_that_was_replaced() {
    let world = World::new();
    let mut live = Live::start(&world.setup);
    let mut client = connected(&live, &world.client(7));
    let before = live.scope();
    assert!(before.upgrade().is_some(), "it is in force");
    let at = live.publish(&world.setup);
    while before.upgrade().is_some() {
        assert!(at.elapsed() < 5 * SOON, "{} still have it", before.strong_count());
        live.free_retired();
        std::thread::sleep(Duration::from_millis(10));
    }
    client.echo(b"hello");
    client.end();
    assert!(world.origin.next_served().orderly);
}

#[test]
fn a_client_that_came_back_with_its_session_is_known_as_well() {
    let world = World::new();
    let client = world.client(7);
    for mode in ["cache", "tickets"] {
        let base = world.setup.clone().listener(&format!("resumption = {mode:?}"));
        for version in VERSIONS {
            for (changed, alert, reason) in [
                (world.crls(&[7], 600), Alert::CertificateRevoked, "revoked"),
                (r#"deny = ["any"]"#.into(), Alert::AccessDenied, "no_longer_allowed"),
            ] {
                let mut live = Live::start(&base);
                let returning = Returning::new(&version.of(ClientOptions::with(&client)));
                assert_eq!(returning.visit(live.address()), Visit::Full);
                assert!(world.origin.next_served().orderly);
                let (mut client, visit) = returning.stay(live.address()).expect("let in");
                assert_eq!(visit, Visit::Resumed);
                let at = live.publish(&base.clone().listener(&changed));
                let (came, when) = ended(&mut client);
                assert_eq!(came, alert, "{mode} {version:?}");
                assert!(when.duration_since(at) < SOON);
                let record = live.record_of(client.local_address());
                assert_eq!(record["resumed"], true, "{record}");
                assert_eq!(record["identity"]["dns"][0], "client7.test", "{record}");
                assert_record(&record, reason);
                assert!(!world.origin.next_served().orderly);
            }
        }
    }
}

#[test]
fn a_change_that_concerns_nobody_ends_nobody() {
    let world = World::new();
    let mut live = Live::start(&world.setup);
    let mut client = connected(&live, &world.client(7));
    for changed in [
        world.setup.clone().listener(&world.crls(&[8], 600)),
        world.setup.clone().listener(r#"allow = ["dns:client7.test"]"#),
        world.setup.clone().listener(r#"client_auth = "optional""#),
        world.setup.clone().listener("resumption = \"cache\"\nsession_age_max_s = 10"),
        world.setup.clone(),
    ] {
        live.publish(&changed);
        // By then it would have been over.
        std::thread::sleep(Duration::from_millis(100));
        client.echo(b"hello");
    }
    client.end();
    assert!(world.origin.next_served().orderly);
}

#[test]
fn a_client_whose_certificate_expires() {
    let world = World::new();
    let mut live = Live::start(&world.setup);
    let drain = world.setup.clone().at(crate::harness::free_local());
    let mut draining = Live::start(&drain.listener("lapsed_connections = \"drain 2s\""));
    let last = i64::try_from(unix_time().as_secs()).expect("small") + 3;
    let short = world.middle.client(|params| {
        params.not_after = time::OffsetDateTime::from_unix_timestamp(last).expect("a date");
    });
    let mut long = connected(&live, &world.client(8));
    let (mut at_once, mut later) = (connected(&live, &short), connected(&draining, &short));
    let peers = [at_once.local_address(), later.local_address()];
    let (alert, _) = ended(&mut at_once);
    let ended_at = unix_time();
    assert_eq!(alert, Alert::CertificateExpired);
    assert_record(&live.record_of(peers[0]), "certificate_expired");
    // The last second of its validity counts.
    let over = Duration::from_secs(last.unsigned_abs() + 1);
    let after = ended_at.checked_sub(over).expect("not before it has expired");
    assert!(after < 2 * SOON, "{after:?} after it had expired");
    println!("certificate_expired: {after:?} after the end of its last second");
    later.echo(b"world");
    let (alert, _) = ended(&mut later);
    let drained = unix_time().checked_sub(ended_at).expect("later");
    assert_eq!(alert, Alert::CertificateExpired);
    assert!((SOON..4 * SOON).contains(&drained), "drained for {drained:?}");
    let record = draining.record_of(peers[1]);
    assert_eq!(record["close_reason"], "certificate_expired", "{record}");
    assert_eq!(record["bytes_up"], 10, "{record}");
    long.echo(b"hello");
    long.end();
}

#[test]
fn a_client_whose_list_is_too_old() {
    let world = World::new();
    let base = &world.setup;
    let (ends, mut lives) = (unix_time().as_secs() + 3, Vec::new());
    let lists = |world: &World| {
        let now = unix_time().as_secs();
        world.crls(&[], i64::try_from(ends.saturating_sub(now)).expect("small"))
    };
    for mode in ["reject", "grace 2s", "accept"] {
        let setup = base.clone().at(crate::harness::free_local()).listener(&lists(&world));
        lives.push(Live::start(&setup.listener(&format!("crl_stale = {mode:?}"))));
    }
    let mut clients: Vec<_> = lives.iter().map(|live| connected(live, &world.client(7))).collect();
    for (index, grace_s) in [(0, 0), (1, 2)] {
        let peer = clients[index].local_address();
        let (alert, _) = ended(&mut clients[index]);
        let now = unix_time();
        assert_eq!(alert, Alert::CertificateUnknown);
        assert_record(&lives[index].record_of(peer), "revocation_unknown");
        let over = Duration::from_secs(ends + grace_s);
        let after = now.checked_sub(over).expect("not before it is too old");
        assert!(after < 2 * SOON, "{after:?} after it was too old");
        println!("revocation_unknown: {after:?} after nextUpdate and {grace_s} s of grace");
    }
    clients[2].echo(b"hello");
    // Who comes now is told the same.
    let late = ClientOptions::with(&world.client(7));
    assert_eq!(late.refused(lives[0].address()).1, Alert::CertificateUnknown);
}

#[test]
fn a_client_whose_upstream_does_not_answer_yet() {
    let world = World::new();
    let hanging = Hanging::new();
    let base = world.setup.clone().endpoints(&[hanging.address]);
    let mut live = Live::start(&base);
    let credentials = world.client(7);
    let mut client = ClientOptions::with(&credentials).connect(live.address()).expect("let in");
    wait_until("the handshake", || live.counters().handshakes_done == 1);
    let at = live.publish(&base.clone().listener(&world.crls(&[7], 600)));
    let (alert, when) = ended(&mut client);
    assert_eq!(alert, Alert::CertificateRevoked);
    assert!(when.duration_since(at) < SOON);
    let record = live.record_of(client.local_address());
    assert_eq!(record["close_reason"], "revoked", "{record}");
    assert!(record["upstream"].is_null(), "{record}");
}

#[test]
fn a_client_that_reads_nothing() {
    let world = World::new();
    let flood = Origin::source(vec![1; 64 * 1024], 10_000);
    let base = world.setup.clone().endpoints(&[flood.address()]);
    let mut live = Live::start(&base);
    let credentials = world.client(7);
    let client = ClientOptions::with(&credentials).connect(live.address()).expect("let in");
    let sent = |live: &Live| live.counters().bytes_sent;
    // Until nothing more fits into what lies between.
    wait_until("the flood", || sent(&live) > 0);
    let mut before = 0;
    wait_until("a full socket", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, sent(&live)) == sent(&live)
    });
    let at = live.publish(&base.clone().listener(&world.crls(&[7], 600)));
    let served = flood.next_served();
    assert!(at.elapsed() < SOON, "{:?}", at.elapsed());
    assert!(!served.orderly, "the upstream sees a reset");
    let record = live.record_of(client.local_address());
    assert_eq!(record["close_reason"], "revoked", "{record}");
}

#[test]
fn one_of_two_thousand() {
    const CLIENTS: usize = 2000;
    let world = World::new();
    let base = world.setup.clone().listener(&world.crls(&[], 600));
    let mut live = Live::start(&base);
    let (good, bad) = (world.client(8), world.client(7));
    let options = ClientOptions::with(&good);
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|_| options.connect(live.address()).expect("let in")).collect();
    for client in &mut clients {
        client.echo(b"hello");
    }
    let mut revoked = connected(&live, &bad);
    let peer = revoked.local_address();
    let waiting = std::thread::spawn(move || ended(&mut revoked));
    let changed = world.setup.clone().listener(&world.crls(&[7], 600));
    let at = live.publish(&changed);
    let mut slowest = Duration::ZERO;
    for client in clients.iter_mut().step_by(40) {
        let asked = Instant::now();
        client.echo(b"while leases are judged");
        slowest = slowest.max(asked.elapsed());
    }
    let (alert, when) = waiting.join().expect("it ends");
    let took = when.duration_since(at);
    assert_eq!(alert, Alert::CertificateRevoked);
    assert!(took < SOON, "{took:?}");
    println!("one of {CLIENTS}: cut off after {took:?}; meanwhile the slowest answer {slowest:?}");
    assert!(slowest < SOON, "{slowest:?}");
    assert_record(&live.record_of(peer), "revoked");
    for client in &mut clients {
        client.echo(b"still here");
    }
    assert_eq!(world.origin.accepted(), CLIENTS as u64 + 1);
    assert_eq!(live.records().len(), 1, "nobody else has gone");
}
