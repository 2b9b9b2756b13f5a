"""The rounds of scripts/flood: requests alone, then the same requests beside each flood."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Failure, Processes, free_port, tail, wait_listening

ROOT = Path(__file__).resolve().parents[2]
KEPT_MIN = 0.8
SOURCES = 500
CONNECTIONS = 64
# A flood runs so long before the requests are measured, and as long after.
LEAD_S = 0.7
# The gateway, the generator of the requests and its origin come before builds and the like, which
# are no part of what is measured, and before the flood: what is measured is the gateway, not who
# gets the other CPU. While the gateway lets requests wait, all of that CPU is the flood's. Only a
# process group's own priority counts where the kernel groups processes by session (sched(7),
# autogroup). Where it is not permitted, nothing comes first, and the figures are worse.
AT_PRIORITY = (
    'p=$1; shift; echo "$p" 2>/dev/null >/proc/self/autogroup; '
    'renice -n "$p" -p $$ >/dev/null 2>&1; exec "$@"'
)
FIRST = ["sh", "-c", AT_PRIORITY, "sh", "-15"]
LAST = ["sh", "-c", f"sleep 0.5; {AT_PRIORITY}", "sh", "-5"]
FLOODS = ["refused", "replay", "garbage"]

CONFIGURATION = """\
workers = 1
cpus = "{cpu}"
[log]
target = "{run}/log"
{limits}
[[listener]]
name = "tls"
address = "127.0.0.1:{port}"
upstream = "origin"
client_ca = "{run}/root.pem"
[[listener.certificate]]
chain = "{run}/server.pem"
key = "{run}/server.key"
[[upstream]]
name = "origin"
endpoints = ["127.0.0.1:{origin}"]
"""


@dataclass(frozen=True)
class Setup:
    """What is measured, and where."""

    ringfort: Path
    loadgen: Path
    run: Path
    port: int
    pid: int
    load_cpu: int
    duration_s: float


@dataclass(frozen=True)
class Sample:
    """One run of the requests."""

    rate: float
    p50_us: float
    p99_us: float
    gateway_us_per_s: float


def make_certificates(ringfort: Path, run: Path) -> None:
    """One authority that the gateway trusts, and a client of another."""
    for words in (
        ["ca", "--name", "root"],
        ["ca", "--name", "other"],
        ["server", "--ca", "root.pem", "--ca-key", "root.key", "--name", "server", "--dns", "localhost"],
        ["client", "--ca", "root.pem", "--ca-key", "root.key", "--name", "client"],
        ["client", "--ca", "other.pem", "--ca-key", "other.key", "--name", "stranger"],
    ):
        subprocess.run([str(ringfort), "pki", *words], cwd=run, check=True, capture_output=True)


def generator(setup: Setup, mode: list[str], certificate: str) -> list[str]:
    """The load generator against the gateway."""
    run = setup.run
    return [
        "taskset", "--cpu-list", str(setup.load_cpu), str(setup.loadgen), *mode,
        "--target", f"127.0.0.1:{setup.port}", "--sni", "localhost", "--ca", str(run / "root.pem"),
        "--cert", str(run / f"{certificate}.pem"), "--key", str(run / f"{certificate}.key"),
        "--workers", "1", "--cpus", str(setup.load_cpu), "--quiet",
    ]  # fmt: skip


def requests(setup: Setup, processes: Processes, connections: int) -> Sample:
    """Requests on connections that are kept; handshakes of theirs come before the flood's."""
    report, log = setup.run / "report.json", setup.run / "requests.log"
    report.unlink(missing_ok=True)
    mode = [
        "request", "--proto", "tcp", "--connections", str(connections),
        "--warmup", f"{LEAD_S + 0.5}s", "--duration", f"{setup.duration_s}s",
        "--json", str(report), "--watch-pid", str(setup.pid),
    ]  # fmt: skip
    command = [*FIRST, *generator(setup, mode, "client")]
    process = processes.start(command, log)
    try:
        process.wait(setup.duration_s + 30)
    finally:
        processes.end(process)
    try:
        result: dict[str, Any] = json.loads(report.read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"the load generator made no report: {tail(log)}") from error
    total = result["phases"]["total"]
    cpu_us = result["server_cpu"]["cpu_us_per_op"] * result["operations"] if result["operations"] else 0.0
    return Sample(
        result["rate_per_s"], total["p50_us"], total["p99_us"], cpu_us / result["duration_s"]
    )


def flooded(
    setup: Setup, processes: Processes, kind: str, connections: int
) -> tuple[Sample, float]:
    """The requests beside a flood, and how much of it there was a second."""
    duration_s = setup.duration_s + 2 * LEAD_S
    report, log = setup.run / "flood.json", setup.run / f"{kind}.log"
    if kind == "refused":
        mode = [
            "handshake", "--connections", "256", "--source", "127.1.0.1-127.1.0.250,127.1.1.1-127.1.1.250",
            "--warmup", "0s", "--duration", f"{duration_s}s", "--json", str(report),
        ]  # fmt: skip
        command = generator(setup, mode, "stranger")
    else:
        script = Path(__file__).with_name("raw_flood.py")
        command = [
            "taskset", "--cpu-list", str(setup.load_cpu), sys.executable, str(script),
            kind, str(setup.port), str(SOURCES), str(duration_s),
        ]  # fmt: skip
    # The connections of the requests are there first: the generator's warm-up is longer.
    flood = processes.start([*LAST, *command], log)
    try:
        sample = requests(setup, processes, connections)
        flood.wait(duration_s + 30)
    finally:
        processes.end(flood)
    if kind == "refused":
        count = sum(json.loads(report.read_text())["errors"].values())
    else:
        count = int(log.read_text().split()[-1])
    if count == 0:
        raise Failure(f"the flood {kind} did nothing: {tail(log)}")
    return sample, count / duration_s


def median(samples: list[Sample]) -> Sample:
    """The sample of the median rate."""
    return sorted(samples, key=lambda each: each.rate)[len(samples) // 2]


def measure(setup: Setup, processes: Processes, floods: list[str], rounds: int, connections: list[int]) -> bool:
    """All rows; whether each flood left enough."""
    ok = True
    print(
        f"{'connections':>11} {'flood':<9} {'per second':>10} {'kept':>6} {'p50 us':>8} {'p99 us':>9} "
        f"{'flood/s':>8} {'gateway CPU':>12}"
    )
    for count in connections:
        alone: list[Sample] = []
        beside: dict[str, list[tuple[Sample, float]]] = {kind: [] for kind in floods}
        for _ in range(rounds):
            alone.append(requests(setup, processes, count))
            for kind in floods:
                beside[kind].append(flooded(setup, processes, kind, count))
        base = median(alone)
        row(count, "none", base, base, 0.0)
        for kind in floods:
            sample = median([each for each, _ in beside[kind]])
            flood = next(rate for each, rate in beside[kind] if each is sample)
            row(count, kind, sample, base, flood)
            ok = ok and sample.rate >= KEPT_MIN * base.rate
    return ok


def row(connections: int, flood: str, sample: Sample, base: Sample, flood_rate: float) -> None:
    """One line of the table."""
    print(
        f"{connections:>11} {flood:<9} {sample.rate:>10.0f} {sample.rate / base.rate:>6.0%} {sample.p50_us:>8.0f} "
        f"{sample.p99_us:>9.0f} {flood_rate:>8.0f} {sample.gateway_us_per_s / 1e6:>12.0%}",
        flush=True,
    )


def absolute(path: str) -> Path:
    """Programs are started in a folder of the run's own."""
    return Path(path).resolve()


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/flood", description=__doc__)
    release = ROOT / "target/release"
    parser.add_argument("--ringfort", type=absolute, default=release / "ringfort")
    parser.add_argument("--loadgen", type=absolute, default=release / "ringfort-loadgen")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of each measurement")
    parser.add_argument("--flood", action="append", choices=FLOODS, help="only this one; repeatable")
    parser.add_argument("--connections", type=int, action="append", help="of the requests; repeatable")
    parser.add_argument("--limits", default="", help="keys of [limits], with newlines between them")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Status 0 where every flood left 80 %; 1 where one did not, or nothing could be measured."""
    given = arguments(words)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        print("flood: two CPUs are needed, one for the gateway and one for the load", file=sys.stderr)
        return 1
    for program in (given.ringfort, given.loadgen):
        if not program.exists():
            print(f"flood: no {program}: cargo build --release -p ringfort -p loadgen", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory(prefix="ringfort-flood-") as folder, Processes() as processes:
        run = Path(folder)
        make_certificates(given.ringfort, run)
        port, origin = free_port(), free_port()
        limits = f"[limits]\n{given.limits}" if given.limits else ""
        text = CONFIGURATION.format(cpu=cpus[0], run=run, port=port, origin=origin, limits=limits)
        (run / "ringfort.toml").write_text(text)
        try:
            pinned = [*FIRST, "taskset", "--cpu-list", str(cpus[-1])]
            listen = ["origin", "--listen", f"127.0.0.1:{origin}", "--cpu", str(cpus[-1])]
            log = run / "origin.log"
            wait_listening(origin, processes.start([*pinned, str(given.loadgen), *listen], log), "the origin", log)
            log = run / "gateway.log"
            command = [*FIRST, str(given.ringfort), "run", "--config", str(run / "ringfort.toml")]
            gateway = processes.start(command, log)
            wait_listening(port, gateway, "ringfort", log)
            setup = Setup(
                given.ringfort, given.loadgen, run, port, gateway.pid, cpus[-1], given.duration
            )
            floods = given.flood or FLOODS
            ok = measure(setup, processes, floods, given.rounds, given.connections or [CONNECTIONS])
        except (Failure, subprocess.SubprocessError) as error:
            print(f"flood: {error}", file=sys.stderr)
            return 1
    if not ok:
        print(f"a flood left less than {KEPT_MIN:.0%} of the rate", file=sys.stderr)
    return 0 if ok else 1
