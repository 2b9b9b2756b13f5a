//! `ringfort demo`, run as a person runs it: the timeline, the printed commands, and its ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of this test's own, which the demo takes for the system's temporary one.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rf-demo {name} {}", std::process::id()));
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).expect("readable").next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

fn command(scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
    command.arg("demo").args(arguments).env("TMPDIR", &scratch.0);
    command
}

fn demo(scratch: &Scratch, arguments: &[&str]) -> Output {
    command(scratch, arguments).output().expect("it runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// A demo that serves.
struct Serving {
    child: Child,
    /// What it said until it served.
    said: String,
    lines: Receiver<String>,
}

impl Serving {
    fn start(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut child =
            command(scratch, arguments).stdout(Stdio::piped()).spawn().expect("it runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut serving = Self { child, said: String::new(), lines };
        serving.said = serving.until("Ctrl-C ends the demo");
        serving
    }

    /// All lines up to one with `text` in it.
    fn until(&self, text: &str) -> String {
        let mut all = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    all.push_str(&line);
                    all.push('\n');
                    if line.contains(text) {
                        return all;
                    }
                }
                Err(error) => panic!("{text:?} did not come ({error}):\n{all}"),
            }
        }
    }

    /// The commands to copy: blocks of indented lines, from a line without to one without.
    fn commands(&self) -> Vec<String> {
        let (_, printed) = self.said.split_once("Try it").expect("commands to try");
        let mut commands = Vec::new();
        let mut block = String::new();
        for line in printed.lines() {
            if line.starts_with("  ") {
                block.push_str(line);
                block.push('\n');
            } else if !block.is_empty() {
                commands.push(std::mem::take(&mut block));
            }
        }
        commands
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &process]).status().expect("kill(1)");
        assert!(sent.success());
    }

    fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the demo did not end");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The printed command, run as it is by a shell.
fn shell(command: &str) -> Output {
    let shell = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output();
    shell.expect("a shell")
}

/// Time, bytes and the rest of the first row after `from` that has all of `words`.
fn row<'a>(table: &'a [&'a str], from: &mut usize, words: &[&str]) -> (u64, Option<u64>, &'a str) {
    for (index, line) in table.iter().enumerate().skip(*from) {
        if words.iter().all(|word| line.contains(word)) {
            *from = index + 1;
            let number = |range: std::ops::Range<usize>| line.get(range)?.trim().parse().ok();
            return (
                number(0..8).unwrap_or_else(|| panic!("no time: {line}")),
                number(10..16),
                line,
            );
        }
    }
    panic!("no row {words:?} from line {from} on:\n{}", table.join("\n"));
}

#[test]
fn the_timeline_has_every_phase_in_order_with_its_time_and_its_bytes() {
    let scratch = Scratch::new("timeline");
    let output = demo(&scratch, &["--once", "--listen", &free_address()]);
    let said = out(&output);
    assert!(output.status.success(), "{said}{}", err(&output));
    assert_eq!(err(&output), "");
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    assert!(!said.contains('\x1b'), "no colour without a terminal");
    let table: Vec<&str> = said.lines().collect();
    let (mut from, mut last_us) = (0, 0);
    let phases: [(&[&str], Option<std::ops::RangeInclusive<u64>>); 18] = [
        (&["client", "connected"], None),
        (&["client -> gateway", "ClientHello"], Some(200..=2000)),
        (
            &["gateway -> client", "ServerHello", "TLS 1.3", "TLS_AES_128_GCM_SHA256"],
            Some(90..=2000),
        ),
        (&["gateway -> client", "CertificateRequest", "ringfort demo CA"], Some(30..=500)),
        (&["gateway -> client", "Certificate ", "CN=ringfort demo server"], Some(300..=2000)),
        (&["gateway -> client", "CertificateVerify"], Some(60..=100)),
        (&["gateway -> client", "Finished"], Some(36..=52)),
        (&["client", "key exchange", "X25519MLKEM768"], None),
        (&["client", "certificate asked", "presents its certificate"], None),
        (&["client verifies", "certificate chain", "issued under"], None),
        (&["client verifies", "handshake signature"], None),
        (&["client -> gateway", "Certificate ", "CN=ringfort demo client"], Some(300..=2000)),
        (&["client -> gateway", "CertificateVerify"], Some(60..=100)),
        (&["client -> gateway", "Finished"], Some(36..=52)),
        (&["client -> gateway", "request"], Some(20..=200)),
        (&["gateway", "verifies chain", "issued under"], None),
        (&["gateway", "verifies signature"], None),
        (&["gateway -> client", "response, first byte"], Some(100..=2000)),
    ];
    for (words, bytes_expected) in phases {
        let (time_us, bytes, line) = row(&table, &mut from, words);
        assert!(time_us >= last_us && time_us < 5_000_000, "{line}\n{said}");
        last_us = time_us;
        match (bytes_expected, bytes) {
            (None, None) => {}
            (Some(expected), Some(bytes)) => assert!(expected.contains(&bytes), "{line}"),
            (expected, found) => panic!("{expected:?} bytes, not {found:?}: {line}"),
        }
    }
    let checks = said.matches("took ").count();
    assert!(checks >= 5, "the key exchange and four verifications have durations:\n{said}");
    row(&table, &mut from, &["client", "certificate asked", "has none"]);
    let (_, bytes, _) =
        row(&table, &mut from, &["gateway -> client", "alert", "certificate_required"]);
    assert_eq!(bytes, Some(2));
    assert!(
        said.contains("in the gateway's log: certificate_refused, certificate_missing"),
        "{said}"
    );
    assert!(!said.contains("FAIL"), "{said}");
    assert!(scratch.is_empty(), "the certificates are gone");
}

#[test]
fn an_address_in_use_is_named_and_ends_with_status_1() {
    let scratch = Scratch::new("in use");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("bound").to_string();
    let output = demo(&scratch, &["--once", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(scratch.is_empty());
    let output = demo(&scratch, &["--once", "--listen", "localhost:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("--listen"), "{}", err(&output));
    assert!(scratch.is_empty());
}

#[test]
fn the_printed_commands_work_until_ctrl_c_and_leave_nothing() {
    let scratch = Scratch::new("it's");
    let serving = Serving::start(&scratch, &["--listen", &free_address()]);
    try_commands(&serving, &scratch.0);
    serving.signal("-INT");
    serving.until("Ended; removed ");
    assert_eq!(serving.end().code(), Some(0));
    assert!(scratch.is_empty());
}

/// Runs what the demo printed, and looks at what it shows of it.
fn try_commands(serving: &Serving, folder: &Path) {
    let commands = serving.commands();
    let [curl, openssl, without] = &commands[..] else {
        panic!("three commands, not {commands:#?}");
    };
    assert!(curl.contains(&folder.display().to_string().replace('\'', r"'\''")), "{curl}");
    for (command, program) in [(curl, "curl "), (openssl, "openssl s_client")] {
        assert!(command.contains(program), "{command}");
        let output = shell(command);
        let answer = out(&output);
        assert!(output.status.success(), "{command}\n{answer}{}", err(&output));
        assert!(answer.contains("Hello from behind ringfort."), "{command}\n{answer}");
        assert!(answer.contains("Your request: GET /,"), "{answer}");
        let line = serving.until("spiffe://ringfort.demo/client");
        assert!(line.contains(" B in, ") && line.trim_end().ends_with(" B out"), "{line}");
    }
    let refused = shell(without);
    assert!(!refused.status.success());
    assert!(!out(&refused).contains("Hello"), "{}", out(&refused));
    serving.until("not let in: certificate_missing");
}

#[test]
fn a_folder_to_keep_is_made_and_left_with_certificates_that_work() {
    let scratch = Scratch::new("keep");
    // With what a shell and curl take for something else.
    let folder = scratch.0.join("made/by: demo's $HOME");
    let name = folder.display().to_string();
    let address = free_address();
    let serving = Serving::start(&scratch, &["--listen", &address, "--keep", &name]);
    try_commands(&serving, &folder);
    serving.signal("-TERM");
    serving.until(&format!("Ended; left {name}"));
    assert_eq!(serving.end().code(), Some(0));
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("it is left")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    files.sort();
    let expected = [
        "ca.key",
        "ca.pem",
        "client.key",
        "client.pem",
        "connections.log",
        "server.key",
        "server.pem",
    ];
    assert_eq!(files, expected);
    let before = fs::read(folder.join("ca.pem")).expect("readable");
    let output = demo(&scratch, &["--once", "--listen", &address, "--keep", &name]);
    assert_eq!(output.status.code(), Some(1), "nothing is replaced");
    assert!(err(&output).contains("exists already"), "{}", err(&output));
    assert_eq!(fs::read(folder.join("ca.pem")).expect("readable"), before);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let scratch = Scratch::new("no folder");
    let file = scratch.0.join("file");
    fs::write(&file, "mine").expect("a file");
    let below = file.join("below").display().to_string();
    let output = demo(&scratch, &["--once", "--listen", &free_address(), "--keep", &below]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains(&below), "{}", err(&output));
    let output = demo(&scratch, &["--once", "--keep", "/proc/ringfort-demo"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("/proc/ringfort-demo"), "{}", err(&output));
    assert_eq!(fs::read(&file).expect("readable"), b"mine");
}

#[test]
fn a_failure_after_the_folder_to_keep_was_made_removes_what_the_demo_made() {
    let scratch = Scratch::new("undone");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("bound").to_string();
    let folder = scratch.0.join("a/b").display().to_string();
    let output = demo(&scratch, &["--listen", &address, "--keep", &folder]);
    assert_eq!(output.status.code(), Some(1));
    assert!(scratch.is_empty(), "so that a second try with --listen works");
}

#[test]
fn ctrl_c_at_any_moment_leaves_no_files_and_no_panic() {
    for delay_ms in [0, 2, 5, 10, 20, 40, 80, 160] {
        let scratch = Scratch::new(&format!("ctrl-c {delay_ms}"));
        let mut child = command(&scratch, &["--listen", &free_address()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        thread::sleep(Duration::from_millis(delay_ms));
        let process = child.id().to_string();
        Command::new("kill").args(["-INT", &process]).status().expect("kill(1)");
        let status = child.wait().expect("our child");
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
        assert!(!said.contains("panicked"), "{delay_ms} ms: {said}");
        // Without a code, the signal ended it before it could catch one, and made anything.
        assert!(matches!(status.code(), None | Some(0 | 1)), "{delay_ms} ms: {status} {said}");
        assert!(scratch.is_empty(), "{delay_ms} ms");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_demo_with_a_sentence() {
    let scratch = Scratch::new("reader gone");
    let mut child = command(&scratch, &["--listen", &free_address()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("our child");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("standard output cannot be written"), "{}", err(&output));
    assert!(scratch.is_empty());
}
