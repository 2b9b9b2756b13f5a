//! Certificates, keys, roots and rules are loaded again when their files change, or on SIGHUP: all
//! or nothing, without a restart and without a connection lost.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use ringfort::cli::pki::Authority;
use rustls::AlertDescription;
use serde_json::Value;

use crate::harness::pki::{dns, profile, write_root};
use crate::harness::programs::{OpenSsl, shown_to_openssl};
use crate::harness::reload::{
    Folder, another_server, assert_published, files, next_reload, put, shown, start,
};
use crate::harness::{
    Client, ClientOptions, Gateway, Origin, Setup, free_local, pki, temp_dir, wait_until,
};

#[test]
fn a_new_certificate_is_shown_to_newcomers_while_connections_go_on() {
    let (first, second) = (another_server(), another_server());
    let origin = Origin::echo();
    let folder = Folder::with(&first);
    let mut gateway = folder.setup(&origin).start();
    let mut live = Client::connect(gateway.address());
    let mut openssl = OpenSsl::connect(gateway.address(), Some(&pki().client), &[]);
    live.echo(b"before");
    assert_eq!(openssl.ask("before"), "before");
    assert_eq!(shown(gateway.address()), first.chain[0]);
    folder.put_key(&second);
    folder.put_chain(&second);
    let event = next_reload(&mut gateway);
    assert_published(&event, 2);
    assert_eq!(
        (&event["cause"], files(&event)),
        (&"files".into(), vec![folder.chain(), folder.key()])
    );
    assert_eq!(event["warnings"], Value::Array(Vec::new()), "{event}");
    assert_eq!(shown(gateway.address()), second.chain[0]);
    let pem = std::fs::read_to_string(&second.leaf_file).expect("written before");
    let openssl_says = shown_to_openssl(gateway.address(), &pki().client);
    assert!(openssl_says.contains(pem.trim()), "{openssl_says}");
    let mut newcomer = OpenSsl::connect(gateway.address(), Some(&pki().client), &[]);
    assert_eq!(newcomer.ask("new"), "new");
    assert!(newcomer.end().0);
    live.echo(&[7; 300_000]);
    live.end();
    assert_eq!(openssl.ask("after"), "after");
    assert!(openssl.end().0, "the connection of before ends in order");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.event["reloads"], 1, "{}", stopped.event);
    assert_eq!(stopped.event["reloads_failed"], 0, "{}", stopped.event);
}

#[test]
fn clients_of_a_root_that_was_replaced_are_refused_and_those_of_the_new_one_pass() {
    let other = Authority::root(&profile("other root")).expect("a root");
    let other_client = other.issue_client(&profile("other"), &dns("other.test")).expect("a client");
    let other_client = ClientOptions::with(&other_client.into());
    let roots = temp_dir().join("roots.pem");
    put(&pki().root_file, &roots);
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).client_ca(Some(&roots)).start();
    let mut live = Client::connect(gateway.address());
    live.echo(b"before");
    let (_, alert) = other_client.refused(gateway.address());
    assert_eq!(alert, AlertDescription::UnknownCA);
    put(&write_root(&other), &roots);
    let event = next_reload(&mut gateway);
    assert_published(&event, 2);
    assert_eq!(files(&event), [roots]);
    let (_, alert) = ClientOptions::default().refused(gateway.address());
    assert_eq!(alert, AlertDescription::UnknownCA);
    let mut newcomer = other_client.connect(gateway.address()).expect("its root is trusted now");
    newcomer.echo(b"hello");
    newcomer.end();
    // Who was in is judged as a newcomer would be.
    let error = live.read_to_end().expect_err("it may not stay");
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    let record = gateway.record_of(live.local_address());
    assert_eq!(record["close_reason"], "no_longer_allowed");
    gateway.terminate().assert_clean();
}

#[test]
fn a_rule_that_changed_in_the_configuration_counts_for_newcomers() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener(r#"allow = ["dns:nobody.test"]"#);
    let (mut gateway, file) = start(&setup);
    let mut denied = Client::connect(gateway.address());
    denied.read_to_end().expect_err("no close_notify is due");
    assert_eq!(gateway.record_of(denied.local_address())["close_reason"], "denied");
    let changed = Setup::to(origin.address()).at(setup.address);
    changed.listener(r#"allow = ["dns:client.test"]"#).write_to(&file);
    let event = next_reload(&mut gateway);
    assert_published(&event, 2);
    assert_eq!(files(&event), [file]);
    let mut allowed = Client::connect(gateway.address());
    allowed.echo(b"hello");
    allowed.end();
    gateway.terminate().assert_clean();
}

#[test]
fn an_upstream_that_changed_in_the_configuration_is_connected_to() {
    let (first, second) = (Origin::echo(), Origin::echo());
    let setup = Setup::to(first.address()).upstream("resolve_interval_ms = 1000");
    let (mut gateway, file) = start(&setup);
    let resolvers = |gateway: &Gateway| gateway.process().cpus_of_threads("resolver").len();
    assert_eq!(resolvers(&gateway), 0, "an address needs none");
    let mut live = Client::connect(gateway.address());
    live.echo(b"before");
    let name = format!("localhost:{}", second.address().port());
    setup.endpoints(&[name]).write_to(&file);
    assert_published(&next_reload(&mut gateway), 2);
    // A thread takes its name when it runs.
    wait_until("a name is resolved again and again", || resolvers(&gateway) == 1);
    let before = second.accepted();
    let mut newcomer = Client::connect(gateway.address());
    newcomer.echo(b"hello");
    newcomer.end();
    assert_eq!(second.accepted() - before, 1);
    // Longer than the interval: the name has been resolved again.
    std::thread::sleep(Duration::from_millis(1500));
    let mut newcomer = Client::connect(gateway.address());
    newcomer.echo(b"hello");
    newcomer.end();
    assert_eq!(second.accepted() - before, 2);
    live.echo(b"after");
    live.end();
    gateway.terminate().assert_clean();
}

#[test]
fn listeners_that_changed_places_in_the_configuration_keep_their_own_rules() {
    let origin = Origin::echo();
    let other = free_local();
    let listener = |name: &str, address: SocketAddr, allow: &str| {
        let server = &pki().server;
        format!(
            "[[listener]]\nname = {name:?}\naddress = \"{address}\"\nupstream = \"app\"\n\
             allow = [{allow:?}]\nclient_ca = {:?}\n[[listener.certificate]]\nchain = {:?}\n\
             key = {:?}\n",
            pki().root_file,
            server.chain_file,
            server.key_file
        )
    };
    let setup = Setup::to(origin.address());
    let open = listener("open", setup.address, "dns:client.test");
    let closed = listener("closed", other, "dns:nobody.test");
    let upstream =
        format!("[[upstream]]\nname = \"app\"\nendpoints = [\"{}\"]\n", origin.address());
    let file = temp_dir().join("ringfort.toml");
    std::fs::write(&file, format!("{upstream}{open}{closed}")).expect("a temporary file");
    let mut gateway = Gateway::start(&[], &["--config", &file.display().to_string()]);
    let check = |gateway: &mut Gateway| {
        let mut client = Client::connect(setup.address);
        client.echo(b"hello");
        client.end();
        let mut client = Client::connect(other);
        client.read_to_end().expect_err("no close_notify is due");
        let record = gateway.record_of(client.local_address());
        assert_eq!(
            (&record["listener"], &record["close_reason"]),
            (&"closed".into(), &"denied".into())
        );
    };
    check(&mut gateway);
    std::fs::write(&file, format!("{upstream}{closed}{open}")).expect("a temporary file");
    assert_published(&next_reload(&mut gateway), 2);
    check(&mut gateway);
    gateway.terminate().assert_clean();
}

#[test]
fn a_symbolic_link_to_a_folder_that_is_swapped_is_followed() {
    // As the kubelet writes a Secret: tls.crt -> ..data/tls.crt, ..data -> ..N, renamed over.
    let servers = [another_server(), another_server(), another_server()];
    let folder = temp_dir();
    let swap = |version: usize| {
        let name = format!("..{version}");
        let new = folder.join(&name);
        std::fs::create_dir(&new).expect("a temporary folder");
        std::fs::copy(&servers[version].chain_file, new.join("tls.crt")).expect("ours");
        std::fs::copy(&servers[version].key_file, new.join("tls.key")).expect("ours");
        symlink(&name, folder.join("..data_tmp")).expect("ours");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("ours");
        if version > 0 {
            let old = folder.join(format!("..{}", version - 1));
            std::fs::remove_dir_all(old).expect("ours");
        }
    };
    swap(0);
    let link = |name: &str| {
        let path = folder.join(name);
        symlink(Path::new("..data").join(name), &path).expect("ours");
        path
    };
    let (chain, key) = (link("tls.crt"), link("tls.key"));
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).certificate_files(&chain, &key).start();
    assert_eq!(shown(gateway.address()), servers[0].chain[0]);
    for (version, server) in servers.iter().enumerate().skip(1) {
        swap(version);
        let event = next_reload(&mut gateway);
        assert_published(&event, version as u64 + 1);
        assert_eq!(files(&event), [chain.clone(), key.clone()]);
        assert_eq!(shown(gateway.address()), server.chain[0]);
    }
    gateway.terminate().assert_clean();
}

#[test]
fn flags_name_files_that_are_watched_too() {
    let (first, second) = (another_server(), another_server());
    let folder = Folder::with(&first);
    let origin = Origin::echo();
    let address = free_local().to_string();
    let text = |path: &Path| path.display().to_string();
    let mut gateway = Gateway::start(
        &[],
        &[
            "--listen",
            &address,
            "--to",
            &origin.address().to_string(),
            "--cert",
            &text(&folder.chain()),
            "--key",
            &text(&folder.key()),
            "--client-ca",
            &text(&pki().root_file),
        ],
    );
    assert_eq!(shown(gateway.address()), first.chain[0]);
    folder.put_key(&second);
    folder.put_chain(&second);
    assert_published(&next_reload(&mut gateway), 2);
    assert_eq!(shown(gateway.address()), second.chain[0]);
    gateway.terminate().assert_clean();
}

#[test]
fn a_file_that_was_touched_and_holds_the_same_bytes_is_no_reload() {
    let (first, second) = (another_server(), another_server());
    let folder = Folder::with(&first);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    for _ in 0..3 {
        put(&first.chain_file, &folder.chain());
        // Longer than the look that sees it, and the look that finds it stable.
        std::thread::sleep(Duration::from_millis(2300));
    }
    assert!(gateway.lines_so_far().iter().all(|line| line["event"] == "start"));
    folder.put_key(&second);
    folder.put_chain(&second);
    assert_published(&next_reload(&mut gateway), 2);
    assert_eq!(shown(gateway.address()), second.chain[0]);
    let stopped = gateway.terminate();
    assert_eq!(stopped.event["reloads"], 1, "{}", stopped.event);
}
