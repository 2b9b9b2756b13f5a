//! A reload is all or nothing: what is wrong, or takes a restart, leaves what is in force and is
//! told once.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::reload::{
    Folder, another_server, assert_failed, assert_published, files, next_reload, put, shown, start,
    unseen_reloads,
};
use crate::harness::{Client, Gateway, Origin, Setup, free_local, temp_dir};

/// Longer than the look that sees a change and the one that finds it stable, several times over:
/// what does not happen cannot be waited for.
const SEVERAL_LOOKS: Duration = Duration::from_millis(4500);

fn assert_nothing_more(gateway: &mut Gateway) {
    std::thread::sleep(SEVERAL_LOOKS);
    assert_eq!(unseen_reloads(gateway), [""; 0]);
}

#[test]
fn a_chain_that_comes_before_its_key_is_told_once_and_published_with_it() {
    let (first, second) = (another_server(), another_server());
    let folder = Folder::with(&first);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    folder.put_chain(&second);
    let event = next_reload(&mut gateway);
    assert_failed(&event, 1, "is not the key of the first certificate of");
    assert_eq!(files(&event), [folder.chain()]);
    assert_nothing_more(&mut gateway);
    assert_eq!(shown(gateway.address()), first.chain[0]);
    folder.put_key(&second);
    let event = next_reload(&mut gateway);
    assert_published(&event, 2);
    assert_eq!(files(&event), [folder.chain(), folder.key()]);
    assert_eq!(shown(gateway.address()), second.chain[0]);
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.event["reloads"], 1, "{}", stopped.event);
    assert_eq!(stopped.event["reloads_failed"], 1, "{}", stopped.event);
}

#[test]
fn a_file_that_is_being_written_is_not_loaded_before_it_rests() {
    let (first, second) = (another_server(), another_server());
    let folder = Folder::with(&first);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    let text = std::fs::read_to_string(&second.chain_file).expect("written before");
    // In place and piece by piece, over more than two looks; half of it is no certificate.
    let pieces = text.len().div_ceil(8);
    for end in (1..=8).map(|piece| (piece * pieces).min(text.len())) {
        std::fs::write(folder.chain(), &text[..end]).expect("ours");
        std::thread::sleep(Duration::from_millis(400));
    }
    folder.put_key(&second);
    let event = next_reload(&mut gateway);
    assert_published(&event, 2);
    assert_eq!(shown(gateway.address()), second.chain[0]);
    gateway.terminate().assert_clean();
}

#[test]
fn a_configuration_that_is_broken_leaves_the_old_one_and_says_why() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address());
    let (mut gateway, file) = start(&setup);
    let mut live = Client::connect(gateway.address());
    let right = std::fs::read_to_string(&file).expect("written before");
    std::fs::write(&file, right.replace("upstream = ", "upstraem = ")).expect("ours");
    let event = next_reload(&mut gateway);
    assert_failed(&event, 1, "upstraem");
    let place = format!("{}:", file.display());
    assert_failed(&event, 1, &place);
    assert_nothing_more(&mut gateway);
    live.echo(b"before");
    let mut newcomer = Client::connect(gateway.address());
    newcomer.echo(b"hello");
    newcomer.end();
    // Back to the bytes that are in force: nothing to publish, and the log says that all is well.
    std::fs::write(&file, right).expect("ours");
    let event = next_reload(&mut gateway);
    assert_eq!(event["event"], "reload", "{event}");
    assert_eq!((&event["published"], &event["epoch"]), (&false.into(), &1.into()), "{event}");
    live.end();
    gateway.terminate().assert_clean();
}

#[test]
fn what_takes_a_restart_is_refused_by_the_name_of_its_key_and_nothing_else_changes() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address());
    let address = setup.address;
    let (mut gateway, file) = start(&setup);
    let denies_all = r#"allow = ["dns:nobody.test"]"#;
    let changes = [
        (Setup::to(origin.address()).at(free_local()), "address of listener \"main\" is"),
        (Setup::to(origin.address()).at(address).top("workers = 1"), "workers is 1 now"),
        (Setup::to(origin.address()).at(address).table("[ring]\nentries = 64"), "ring.entries is"),
        (Setup::to(origin.address()).at(address).table("[log]\ntarget = \"off\""), "log.target is"),
        (Setup::to(origin.address()).at(address).listener("backlog = 7"), "backlog of listener"),
    ];
    for (changed, error) in changes {
        changed.listener(denies_all).write_to(&file);
        gateway.signal(Signal::HUP);
        let event = next_reload(&mut gateway);
        assert_failed(&event, 1, error);
        assert_failed(&event, 1, "restart the gateway");
        assert_eq!(event["errors"].as_array().map(Vec::len), Some(1), "{event}");
        // The rules that came with it are not in force.
        let mut client = Client::connect(address);
        client.echo(b"hello");
        client.end();
    }
    setup.listener(denies_all).write_to(&file);
    gateway.signal(Signal::HUP);
    assert_published(&next_reload(&mut gateway), 2);
    let mut client = Client::connect(address);
    client.read_to_end().expect_err("no close_notify is due");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.event["reloads_failed"], 5, "{}", stopped.event);
}

#[test]
fn a_file_that_vanishes_is_told_once_and_picked_up_when_it_comes_back() {
    let (first, second) = (another_server(), another_server());
    let folder = Folder::with(&first);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    let aside = temp_dir().join("aside.key");
    std::fs::rename(folder.key(), &aside).expect("both are in the target folder");
    assert_failed(&next_reload(&mut gateway), 1, "a file that exists");
    assert_nothing_more(&mut gateway);
    assert_eq!(shown(gateway.address()), first.chain[0]);
    put(&aside, &folder.key());
    let event = next_reload(&mut gateway);
    assert_eq!(
        (&event["event"], &event["published"]),
        (&"reload".into(), &false.into()),
        "{event}"
    );
    std::fs::remove_file(folder.chain()).expect("ours");
    assert_failed(&next_reload(&mut gateway), 1, "a file that exists");
    folder.put_key(&second);
    folder.put_chain(&second);
    assert_published(&next_reload(&mut gateway), 2);
    assert_eq!(shown(gateway.address()), second.chain[0]);
    gateway.terminate().assert_clean();
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let server = another_server();
    let folder = Folder::with(&server);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    std::fs::remove_file(folder.key()).expect("ours");
    let made = std::process::Command::new("mkfifo").arg(folder.key()).status();
    assert!(made.expect("mkfifo is installed").success());
    assert_failed(&next_reload(&mut gateway), 1, "not a regular file");
    std::fs::remove_file(folder.key()).expect("ours");
    folder.put_key(&server);
    let event = next_reload(&mut gateway);
    assert_eq!(
        (&event["event"], &event["published"]),
        (&"reload".into(), &false.into()),
        "{event}"
    );
    gateway.terminate().assert_clean();
}
