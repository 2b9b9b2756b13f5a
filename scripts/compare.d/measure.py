"""The rounds: every peer of a workload runs at the same time, and is loaded in turn."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import figures
import install
import peers
import workloads
from figures import Cell, Sample
from peers import Peer, Running, Tools
from processes import Failure, Processes, free_port, open_sockets, resident_bytes, tail, wait_listening
from workloads import IDLE_CONNECTIONS, SUITE, Workload

# Beyond what the load generator was told to take, for connecting and for its report.
GRACE_S = 60.0
# Allocators give back, and kernels settle, within this after the last connection came.
SETTLE_S = 1.0
# What is allocated once per process is allocated before the first reading of an idle peer.
IDLE_FIRST = 64

# What a run of the load generator takes besides, and what an idle peer does; only to tell a person.
START_S = 0.3
IDLE_S = 8.0


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    idle_rounds: int
    warmup_s: float
    duration_s: float

    def seconds(self, workload: Workload, chosen: list[Peer]) -> float:
        """About how long that workload takes with so many of them."""
        if workload.is_idle:
            return self.idle_rounds * len(chosen) * IDLE_S
        each = max(self.warmup_s, workload.warmup_s) + self.duration_s + START_S
        return self.rounds * len(chosen) * each


def cache_line_ns(tools: Tools) -> int:
    """The latency between the two CPUs, which names the regime that the machine is in."""
    both = f"{tools.gateway_cpu},{tools.load_cpu}"
    command = ["taskset", "--cpu-list", both, str(tools.bench), "--print-latency"]
    return int(install.run(command, "probing the latency between the CPUs"))


@contextmanager
def origin(tools: Tools, processes: Processes, serve: str) -> Iterator[int]:
    """An origin of the load generator on the CPU of the load; gives its port."""
    port, log = free_port(), tools.run / f"origin-{serve}.log"
    listen = ["origin", "--listen", f"127.0.0.1:{port}", "--serve", serve, "--cpu", str(tools.load_cpu)]
    process = processes.start([*_pinned(tools), *listen], log)
    try:
        wait_listening(port, process, f"the origin ({serve})", log)
        yield port
    finally:
        processes.end(process)


def _pinned(tools: Tools) -> list[str]:
    return ["taskset", "--cpu-list", str(tools.load_cpu), str(tools.loadgen)]


def command(tools: Tools, port: int, workload: Workload, more: list[str]) -> list[str]:
    """The load generator against a port."""
    certificates = tools.certificates
    one = ["--cert", str(certificates / "client.pem"), "--key", str(certificates / "client.key")]
    many = [
        "--identities", str(workload.clients), "--identity-ca", str(certificates / "intermediate.pem"),
        "--identity-ca-key", str(certificates / "intermediate.key"),
    ]  # fmt: skip
    return [
        *_pinned(tools), *workload.arguments, "--target", f"127.0.0.1:{port}", "--sni", "localhost",
        *(many if workload.clients else one), "--ca", str(certificates / "root.pem"), "--tls", "1.3", "--suite", SUITE,
        "--group", workload.group, "--workers", "1", "--cpus", str(tools.load_cpu), "--quiet", *more,
    ]  # fmt: skip


def load(
    tools: Tools, processes: Processes, running: Running, workload: Workload, limits: list[str], timeout_s: float
) -> dict[str, Any]:
    """One run of the load generator; its report, or a failure that says what it said."""
    report, log = tools.run / "report.json", tools.run / "loadgen.log"
    report.unlink(missing_ok=True)
    outputs = ["--json", str(report), "--watch-pid", str(running.pid)]
    process = processes.start(command(tools, running.port, workload, [*limits, *outputs]), log)
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"the load generator runs for more than {timeout_s:.0f} s") from error
    finally:
        processes.end(process)
    if running.process.poll() is not None:
        raise Failure(f"{running.peer.name} ended under load with status {running.process.returncode}")
    return judge(report, status, log, workload)


def judge(report: Path, status: int, log: Path, workload: Workload) -> dict[str, Any]:
    """The report, where the run did what was asked of it."""
    try:
        result: dict[str, Any] = json.loads(report.read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"the load generator ended with status {status} and no report: {tail(log)}") from error
    if status != 0 or not result["ok"]:
        reasons = result["failures"] or [f"{kind}: {count}" for kind, count in result["errors"].items()]
        raise Failure("; ".join(reasons) or f"the load generator ended with status {status}: {tail(log)}")
    if not result["operations"]:
        raise Failure("no operation ended within the time")
    if not result["server_cpu"]:
        raise Failure("the report has no CPU of the server, which was asked for with --watch-pid")
    found = (result["tls"]["suite"], result["tls"]["group"])
    # IANA writes x25519, everybody else X25519.
    if (found[0], found[1].lower()) != (SUITE, workload.group.lower()):
        raise Failure(f"negotiated {found[0]} and {found[1]}, not {SUITE} and {workload.group}")
    if workload.http:
        judge_http(result, workload)
    return result


def judge_http(result: dict[str, Any], workload: Workload) -> None:
    """Whether the requests were those of the workload, and their bodies went through."""
    spoken = f"{result['protocol']} ({result['tls']['alpn']})"
    wanted = f"{workload.http} ({workloads.ALPN[workload.http]})"
    if spoken != wanted:
        raise Failure(f"{spoken} was spoken, not {wanted}")
    operations, requests = result["operations"], result["requests"]
    if requests < operations:
        raise Failure(f"{operations} operations were made of {requests} answers")
    carried = result["bytes_sent"] + result["bytes_received"]
    # Of those that were under way when the warm-up ended, some bytes came before.
    whole = operations - result["connections"] * result["streams"]
    if carried < whole * workload.operation_bytes:
        raise Failure(f"{carried} bytes were carried, of {whole} times {workload.operation_bytes} at least")


def mlkem_reason(tools: Tools, processes: Processes, running: Running) -> str:
    """Empty where a handshake with X25519MLKEM768 works; else why not."""
    if running.peer.uses_openssl and workloads.MLKEM not in tools.openssl_groups:
        return "not supported by this system's OpenSSL"
    workload = next(each for each in workloads.ALL if each.group == workloads.MLKEM)
    try:
        load(tools, processes, running, workload, ["--count", "8", "--warmup", "0s", "--timeout", "5s"], 30.0)
    except Failure as failure:
        return f"not supported: {failure}"
    return ""


def rounds(
    tools: Tools, processes: Processes, workload: Workload, chosen: list[Peer], plan: Plan, say: Any
) -> dict[str, Any]:
    """All rounds of a workload: its cells, and the latency between the CPUs before each round."""
    latencies: list[int] = []
    samples: dict[str, list[Sample | None]] = {peer.name: [] for peer in chosen}
    why: dict[str, str] = {}
    with origin(tools, processes, workload.origin) as port:
        running = {} if workload.is_idle else _start(tools, processes, workload, chosen, port, why)
        try:
            for turn in range(plan.idle_rounds if workload.is_idle else plan.rounds):
                latencies.append(cache_line_ns(tools))
                for name in figures.order([peer.name for peer in chosen], turn):
                    peer = next(peer for peer in chosen if peer.name == name)
                    try:
                        sample = _sample(tools, processes, workload, peer, running.get(name), port, plan)
                    except Failure as failure:
                        sample = None
                        why.setdefault(name, str(failure))
                    samples[name].append(sample)
                    say(workload, turn, name, sample, why.get(name, ""))
        finally:
            for each in running.values():
                processes.end(each.process)
    cells: dict[str, Cell] = {name: figures.cell(each, why.get(name, "")) for name, each in samples.items()}
    return {"cells": cells, "latency_ns": latencies}


def _start(
    tools: Tools, processes: Processes, workload: Workload, chosen: list[Peer], port: int, why: dict[str, str]
) -> dict[str, Running]:
    running = {}
    for peer in chosen:
        try:
            running[peer.name] = peers.start(peer, tools, processes, port, workload)
        except Failure as failure:
            why[peer.name] = str(failure)
    return running


def _sample(
    tools: Tools, processes: Processes, workload: Workload, peer: Peer, running: Running | None, port: int, plan: Plan
) -> Sample:
    if workload.is_idle:
        return _idle(tools, processes, workload, peer, port)
    if running is None:
        raise Failure(f"{peer.name} does not run")
    warmup_s = max(plan.warmup_s, workload.warmup_s)
    limits = ["--warmup", f"{warmup_s}s", "--duration", f"{plan.duration_s}s"]
    timeout_s = warmup_s + plan.duration_s + GRACE_S
    report = load(tools, processes, running, workload, limits, timeout_s)
    return figures.sample_of(report, workload.is_bulk)


def _idle(tools: Tools, processes: Processes, workload: Workload, peer: Peer, port: int) -> Sample:
    """What a fresh process grows by, per connection that is held on both sides."""
    running = peers.start(peer, tools, processes, port, workload)
    try:
        # What asked whether it listens is gone by then, on both sides.
        time.sleep(SETTLE_S)
        first = _hold(tools, processes, running, workload, IDLE_FIRST)
        _settle(running, open_sockets(running.pid), 0)
        before, sockets = resident_bytes(running.pid), open_sockets(running.pid)
        second = _hold(tools, processes, running, workload, IDLE_CONNECTIONS)
        _settle(running, sockets, 2 * IDLE_CONNECTIONS)
        after = resident_bytes(running.pid)
        for holder in [first, second]:
            if holder.poll() is not None:
                raise Failure(f"the load generator let go of the connections, with status {holder.returncode}")
            processes.end(holder, signal.SIGINT)
        return {"cost": (after - before) / 1024 / IDLE_CONNECTIONS}
    finally:
        processes.end(running.process)


def _hold(
    tools: Tools, processes: Processes, running: Running, workload: Workload, connections: int
) -> subprocess.Popen[bytes]:
    """Opens connections and returns once the peer has both sides of each."""
    sockets = open_sockets(running.pid)
    index = workload.arguments.index("--connections") + 1
    arguments = [*workload.arguments[:index], str(connections), *workload.arguments[index + 1 :]]
    held = Workload(workload.key, workload.title, tuple(arguments), workload.origin)
    report = tools.run / f"idle-{connections}.json"
    log = tools.run / f"idle-{connections}.log"
    limits = ["--warmup", "0s", "--duration", "600s", "--json", str(report)]
    holder = processes.start(command(tools, running.port, held, limits), log)
    deadline = time.monotonic() + GRACE_S
    while open_sockets(running.pid) < sockets + 2 * connections:
        if holder.poll() is not None:
            raise Failure(f"the load generator does not hold {connections} connections: {tail(log)}")
        if time.monotonic() > deadline:
            has = open_sockets(running.pid) - sockets
            raise Failure(f"{has} sockets of {2 * connections} are open after {GRACE_S:.0f} s")
        time.sleep(0.1)
    return holder


def _settle(running: Running, before: int, more: int) -> None:
    """A connection that came and went meanwhile would falsify the division."""
    time.sleep(SETTLE_S)
    has = open_sockets(running.pid)
    if has < before + more:
        raise Failure(f"{running.peer.name} closes idle connections: {before + more - has} sockets are gone")
