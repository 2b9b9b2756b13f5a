//! Tests of `control::load`: what touches the disk, the resolver and the sockets.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::config::kit;
use crate::config::snapshot::{Balance, ClusterOptions, Target, UpstreamHttp};
use crate::control::kit::{Folder, configuration};

#[test]
fn relative_paths_start_at_the_folder_of_the_configuration() {
    let (_folder, configured) = configuration("relative", kit::RIGHT);
    let loaded = load(&configured).expect("the configuration is right");
    assert_eq!(loaded.snapshot.listeners.len(), 1);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn a_key_that_every_user_can_read_is_a_warning() {
    let (folder, configured) = configuration("readable", kit::RIGHT);
    let key = folder.0.join("server.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    std::fs::set_permissions(folder.0.join("server.pem"), std::fs::Permissions::from_mode(0o644))
        .expect("it is ours");
    let warnings = load(&configured).expect("a warning does not stop").warnings;
    assert_eq!(warnings, [Warning::KeyReadableByAll { path: key.clone(), mode: 0o644 }]);
    let text = warnings[0].to_string();
    assert!(text.contains("(mode 644); fix: chmod 600 ") && text.contains("server.key"), "{text}");
}

#[test]
fn a_configuration_that_cannot_be_read_says_why() {
    let folder = Folder::new("unreadable");
    let found = |path: &Path| {
        load(&Configuration::File(path.to_path_buf()))
            .expect_err("it cannot be read")
            .remove(0)
            .to_string()
    };
    assert!(found(&folder.0.join("none.toml")).contains("No such file"));
    assert!(found(&folder.0).contains("the configuration cannot be read: is a directory"));
    let large = folder.write("large.toml", vec![b'#'; CONFIG_BYTES_MAX + 1]);
    assert!(found(&large).contains("too large; expected a file of at most 1048576 bytes"));
    let latin = folder.write("latin.toml", b"# \xe4\n");
    assert!(found(&latin).contains("byte 2 is not UTF-8"));
    let limit = folder.write("limit.toml", vec![b'#'; CONFIG_BYTES_MAX]);
    assert!(found(&limit).contains("no upstream is configured"), "exactly the bound is read");
}

#[test]
fn a_file_that_is_a_folder_is_refused_where_it_is_named() {
    let (_folder, configured) = configuration("folder", &kit::but("server.pem", "."));
    let errors = load(&configured).expect_err("a folder is no chain");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let text = errors[0].to_string();
    assert!(text.contains("r.toml:11:9: chain = \".\": ") && text.contains("directory"), "{text}");
}

#[test]
fn names_are_resolved_and_an_unknown_one_is_a_warning() {
    // RFC 6761: `localhost` is loopback, `.invalid` never resolves.
    let endpoints = "endpoints = [\"localhost:9000\", \"ringfort.invalid:9000\"]";
    let text = kit::but("endpoints = [\"127.0.0.1:9000\"]", endpoints);
    let (_folder, configured) = configuration("names", &text);
    let Loaded { snapshot, warnings, .. } = load(&configured).expect("a warning does not stop");
    let endpoints = &snapshot.clusters[0].endpoints;
    assert!(!endpoints.is_empty());
    assert!(endpoints.iter().all(|endpoint| endpoint.label.ends_with(":9000")), "{endpoints:?}");
    let [Warning::Unresolved { cluster, name, .. }] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert_eq!((&**cluster, name.as_str()), ("app", "ringfort.invalid:9000"));
}

#[test]
fn names_that_a_running_gateway_has_resolved_are_not_asked_for_again() {
    let name = |host: &str| Target::Name { host: host.into(), port: 9000 };
    let running = Cluster::new(ClusterOptions {
        name: "app".into(),
        targets: vec![name("ringfort.invalid")],
        balance: Balance::RoundRobin,
        connect_timeout: Duration::from_secs(1),
        resolve_interval: Duration::from_secs(1),
        http: UpstreamHttp::default(),
    });
    let address = SocketAddr::from(([192, 0, 2, 1], 9000));
    let running = [Arc::new(running.with_resolved(&[(0, vec![address])]))];
    let endpoints = "endpoints = [\"localhost:9000\", \"ringfort.invalid:9000\"]";
    let text = kit::but("endpoints = [\"127.0.0.1:9000\"]", endpoints);
    let (folder, configured) = configuration("again", &text);
    let attempt = load_again(&configured, &running);
    let (_, snapshot, warnings) = attempt.outcome.expect("it is right");
    assert_eq!(warnings, [], "the name that does not resolve has an address");
    let has = |part: &str| snapshot.clusters[0].endpoints.iter().any(|it| it.label.contains(part));
    assert!(has("192.0.2.1:9000"), "{:?}", snapshot.clusters[0].endpoints);
    assert!(snapshot.clusters[0].endpoints.len() > 1, "the new name was asked for");
    let read = ["clients.pem", "r.toml", "server.key", "server.pem"].map(|it| folder.0.join(it));
    assert_eq!(attempt.inputs.differing(&Inputs::default()), read);
}

#[test]
fn what_a_failed_load_could_not_read_is_among_its_inputs() {
    let (folder, configured) = configuration("failed", kit::RIGHT);
    std::fs::remove_file(folder.0.join("server.key")).expect("ours");
    let attempt = load_again(&configured, &[]);
    attempt.outcome.expect_err("the key is missing");
    let paths = attempt.inputs.differing(&Inputs::default());
    assert!(paths.contains(&folder.0.join("server.key")), "{paths:?}");
    assert!(attempt.inputs.identities().contains(&Identity::Absent(io::ErrorKind::NotFound)));
}

#[test]
fn the_file_limit_is_raised_to_the_hard_one() {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert_eq!(raise_fd_limit(), hard);
    assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), hard);
}

#[test]
fn an_address_that_another_program_holds_is_found_even_if_it_would_share() {
    for share in [false, true] {
        let holder = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        holder.set_reuse_port(share).expect("an option of sockets");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        holder.bind(&any_port.into()).expect("a free port");
        holder.listen(1).expect("a bound socket listens");
        let holder = TcpListener::from(holder);
        let address = holder.local_addr().expect("it is bound");
        let text = kit::but("\":8443\"", &format!("\"{address}\""));
        let snapshot = kit::resolved(&text).expect("the configuration is right");
        let error = probe_address(&snapshot.listeners[0]).expect_err("it is taken").to_string();
        let found = format!("listener main: {address} cannot be bound: Address already in use");
        assert!(error.starts_with(&found), "{error}");
        drop(holder);
        probe_address(&snapshot.listeners[0]).expect("it is free again");
    }
}

#[test]
fn an_address_of_another_machine_cannot_be_bound() {
    // RFC 5737: 192.0.2.0/24 is nobody's.
    let snapshot = kit::resolved(&kit::but(":8443", "192.0.2.1:8443")).expect("it is an address");
    let error = probe_address(&snapshot.listeners[0]).expect_err("it is not ours").to_string();
    assert!(error.contains("expected an address of this machine"), "{error}");
}

#[test]
fn a_log_is_probed_without_creating_it() {
    let folder = Folder::new("log");
    let missing = folder.0.join("access.log");
    probe_log(&LogTarget::File(missing.clone())).expect("the folder takes files");
    assert!(!missing.exists());
    probe_log(&LogTarget::File(folder.write("there.log", b"x"))).expect("it can be appended to");
    probe_log(&LogTarget::Stderr).expect("nothing to open");
    let nowhere = LogTarget::File(folder.0.join("none/access.log"));
    let error = probe_log(&nowhere).expect_err("there is no such folder").to_string();
    assert!(error.contains("the log cannot be written: No such file"), "{error}");
}

#[test]
fn a_key_log_is_appended_to_and_only_its_owner_reads_it() {
    let folder = Folder::new("keys");
    let path = folder.0.join("keys.log");
    for _ in 0..2 {
        let key_log = DiskFiles::default().key_log(&path).expect("the folder takes files");
        key_log.log("L", &[1], &[2]);
    }
    assert_eq!(std::fs::read(&path).expect("it is there"), b"L 01 02\nL 01 02\n");
    let mode = std::fs::metadata(&path).expect("it is there").mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_folder_is_listed_as_kubernetes_mounts_it() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("mounted");
    let list = |path: &Path| DiskFiles::default().list(path, |_| true);
    let data = folder.0.join("..2026_01_01");
    fs::create_dir(&data).expect("the folder takes folders");
    fs::write(data.join("b.crt"), b"b").expect("the folder takes files");
    symlink("..2026_01_01", folder.0.join("..data")).expect("a link");
    symlink("..data/b.crt", folder.0.join("b.crt")).expect("a link");
    let a = folder.write("a.pem", b"a");
    folder.write(".hidden.pem", b"x");
    fs::create_dir(folder.0.join("below")).expect("the folder takes folders");
    folder.write("below/c.pem", b"c");
    symlink("below", folder.0.join("c.pem")).expect("a link to a folder");
    let b = folder.0.join("b.crt");
    assert_eq!(list(&folder.0).expect("it can be read"), Some(vec![a.clone(), b]));
    assert_eq!(list(&a).expect("it can be read"), None, "a file is no folder");
    let missing = list(&folder.0.join("none")).expect_err("it is not there");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);

    symlink("nowhere", folder.0.join("d.pem")).expect("a link");
    let error = list(&folder.0).expect_err("a root would be missed");
    assert!(error.to_string().contains("d.pem: No such file"), "{error}");
}

#[test]
fn a_folder_of_too_many_files_is_not_listed() {
    let folder = Folder::new("crowded");
    for number in 0..CA_DIRECTORY_FILES_MAX {
        folder.write(&number.to_string(), b"");
    }
    let list = || DiskFiles::default().list(&folder.0, |_| true);
    let files = list().expect("as many as may be").expect("a folder");
    assert_eq!(files.len(), CA_DIRECTORY_FILES_MAX);
    folder.write("more", b"");
    assert_eq!(list().expect_err("one more").kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn roots_come_from_a_folder() {
    let (folder, path) = configuration("roots", &kit::but("clients.pem", "roots"));
    fs::create_dir(folder.0.join("roots")).expect("the folder takes folders");
    let missing = load(&path).expect_err("no file").remove(0).to_string();
    assert!(missing.contains("is a folder without such files"), "{missing}");
    fs::copy(folder.0.join("clients.pem"), folder.0.join("roots/a.pem")).expect("a copy");
    load(&path).expect("the configuration is right");
}
