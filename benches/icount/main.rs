//! Instruction counts of ringfort's own code under callgrind, against a committed baseline.
//!
//! Time varies with the machine and the hour; the number of instructions of the same code on the
//! same input does not. `scripts/icount` prints the table, `--check` fails where a count differs
//! from `benches/icount/baseline.toml` by more than 2 % either way, `--update` writes that file.
//!
//! The program starts itself under valgrind once for each scenario, and only what the gateway does
//! in there is collected: not the client, not the set-up. Of that, what is checked is what the Rust
//! compiler made (see `profile`). Nothing depends on chance: fixed certificates, a clock that
//! stands still, fixed bytes where rustls draws random ones, one thread, no randomly keyed hashes.
//!
//! The relay itself needs an io_uring, so `gateway` makes its calls on bytes in memory.

mod baseline;
mod gateway;
mod http;
#[path = "../memory/mod.rs"]
mod memory;
mod profile;
mod scenario;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use baseline::{Baseline, Toolchain, change_percent};
use profile::Profile;
use scenario::{SCENARIOS, Scenario};

const BASELINE: &str = "benches/icount/baseline.toml";
const PLAY: &str = "play";

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Show,
    Check,
    Update,
}

fn main() -> ExitCode {
    // `cargo bench` adds --bench.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let action = match args.as_slice() {
        [PLAY, name] if SCENARIOS.iter().any(|(known, ..)| known == name) => {
            SCENARIOS.iter().filter(|(known, ..)| known == name).for_each(scenario::play);
            return ExitCode::SUCCESS;
        }
        [] => Action::Show,
        ["--check"] => Action::Check,
        ["--update"] => Action::Update,
        other => {
            eprintln!("found {other:?}; expected nothing, --check or --update");
            return ExitCode::from(2);
        }
    };
    report(action).unwrap_or_else(|error| {
        eprintln!("icount: {error}");
        ExitCode::FAILURE
    })
}

fn report(action: Action) -> Result<ExitCode, String> {
    let toolchain = toolchain()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE);
    let baseline = match fs::read_to_string(&path) {
        Ok(text) => Some(Baseline::parse(&text)),
        Err(_) if action == Action::Update => None,
        Err(error) => return Err(format!("{BASELINE}: {error}; scripts/icount --update makes it")),
    };
    let profiles = SCENARIOS
        .iter()
        .map(|scenario| profile(scenario).map(|profile| (scenario.0, profile)))
        .collect::<Result<Vec<_>, _>>()?;
    let counts: Vec<_> = profiles.iter().map(|(name, profile)| (*name, profile.ours)).collect();
    if action == Action::Update {
        print!("{}", table(&profiles, baseline.and_then(Result::ok).as_ref()));
        let scenario = counts.into_iter().map(|(name, counts)| (name.to_owned(), counts));
        let text = Baseline { toolchain, scenario: scenario.collect() }.to_text();
        fs::write(&path, text).map_err(|error| format!("{BASELINE}: {error}"))?;
        println!("wrote {BASELINE}: commit it, and say in the commit why the counts changed");
        return Ok(ExitCode::SUCCESS);
    }
    let baseline = match baseline {
        Some(Ok(baseline)) => baseline,
        Some(Err(error)) => return Err(format!("{BASELINE}: {error}")),
        None => return Err(format!("{BASELINE} is missing")),
    };
    print!("{}", table(&profiles, Some(&baseline)));
    let complaints = baseline.complaints(&toolchain, &counts);
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() || action == Action::Show {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "If this is not what the change is meant to do, find it: `callgrind_annotate` reads \
         target/icount/*.out.\nIf it is, run scripts/icount --update and commit {BASELINE} with \
         the reason."
    );
    Ok(ExitCode::FAILURE)
}

fn table(profiles: &[(&str, Profile)], baseline: Option<&Baseline>) -> String {
    let mut text = format!(
        "{:<22}{:>13}{:>13}{:>10}{:>14}{:>12}{:>16}\n",
        "scenario",
        "instructions",
        "baseline",
        "change",
        "allocations",
        "libc calls",
        "with libraries"
    );
    for (name, Profile { ours, all_instructions }) in profiles {
        let before = baseline.and_then(|baseline| baseline.scenario.get(*name));
        let (before, change) = match before.map(|before| before.instructions) {
            Some(before) => {
                let percent = change_percent(before, ours.instructions);
                (before.to_string(), format!("{percent:+.2} %"))
            }
            None => ("-".into(), "-".into()),
        };
        text += &format!(
            "{name:<22}{:>13}{before:>13}{change:>10}{:>14}{:>12}{all_instructions:>16}\n",
            ours.instructions, ours.allocations, ours.libc_calls
        );
    }
    text
}

/// Plays a scenario under callgrind, and sums up what that wrote.
fn profile((name, ..): &Scenario) -> Result<Profile, String> {
    let program = std::env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/icount"));
    let written = folder.join(format!("{name}.out"));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--demangle=no", "--toggle-collect=*counted_part*"])
        .arg(format!("--callgrind-out-file={}", written.display()))
        .arg(program)
        .args([PLAY, name])
        // Otherwise the first call of each function of a library would look it up.
        .env("LD_BIND_NOW", "1")
        .output()
        .map_err(|error| format!("valgrind: {error}; scripts/icount installs it"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} under valgrind ended with {}:\n{said}", output.status));
    }
    let text =
        fs::read_to_string(&written).map_err(|error| format!("{}: {error}", written.display()))?;
    let profile = profile::sum(&text).map_err(|error| format!("{}: {error}", written.display()))?;
    if profile.ours.instructions == 0 {
        return Err(format!("{}: nothing was collected in `counted_part`", written.display()));
    }
    Ok(profile)
}

fn toolchain() -> Result<Toolchain, String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("-vV")
        .output()
        .map_err(|error| format!("rustc -vV: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let target = text.lines().find_map(|line| line.strip_prefix("host: "));
    match (text.lines().next(), target) {
        (Some(rustc), Some(target)) => {
            Ok(Toolchain { rustc: rustc.to_owned(), target: target.to_owned() })
        }
        _ => Err(format!("rustc -vV said {text:?}; expected its version and host")),
    }
}
