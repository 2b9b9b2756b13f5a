"""The command line, and the comparison from top to bottom."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import checks
import checks_http
import figures
import install
import measure
import peers
import plot
import report
import workloads
from figures import OURS
from measure import Plan
from peers import Peer, Tools
from processes import Failure, Processes

RESULT = install.TARGET / "result.json"
DOCS = install.ROOT / "docs"
# Both sides of the idle connections, and what else a process has open.
OPEN_FILES = 2 * workloads.IDLE_CONNECTIONS + 1000
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """The exit status: 0 where all that was asked was measured."""
    options = _parse(arguments)
    # Also where a shell in the background has left SIGINT ignored.
    for number in [signal.SIGINT, signal.SIGTERM]:
        signal.signal(number, signal.default_int_handler)
    try:
        if options.redraw:
            return _redraw()
        with tempfile.TemporaryDirectory(prefix="ringfort-compare-") as run, Processes() as processes:
            return _compare(options, arguments, Path(run), processes)
    except Failure as failure:
        print(f"compare: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compare: interrupted; every process is ended", file=sys.stderr)
        return INTERRUPTED


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/compare", description="ringfort beside its peers")
    parser.add_argument("--check", action="store_true", help="only check what each peer does; measure nothing")
    parser.add_argument("--quick", action="store_true", help="short runs, three rounds: 10 minutes, not 50")
    parser.add_argument("--rounds", type=_positive, help="interleaved rounds; 5, and 3 with --quick, by default")
    parser.add_argument("--only", choices=[*workloads.GROUPS, *workloads.BY_KEY], action="append", metavar="WORKLOAD",
                        help=f"may be repeated: {', '.join([*workloads.GROUPS, *workloads.BY_KEY])}")  # fmt: skip
    parser.add_argument("--peers", type=_peers, help="names with commas between; ringfort is always there")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md and .svg")
    parser.add_argument("--redraw", action="store_true", help="write the pages from the last result, measure nothing")
    parser.add_argument("--loadgen", type=Path, metavar="FILE", help="a load generator in place of the built one")
    options = parser.parse_args(arguments)
    if options.loadgen and not os.access(options.loadgen, os.X_OK):
        parser.error(f"--loadgen: {options.loadgen} is no program that can be run")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of rounds from 1 to 1000")
    return int(text)


def _peers(text: str) -> set[str]:
    known = {peer.name for peer in peers.ALL if not peer.is_floor}
    names = {name.strip() for name in text.split(",")}
    if strangers := names - known:
        raise argparse.ArgumentTypeError(f"{sorted(strangers)}: expected some of {', '.join(sorted(known))}")
    return names | {OURS}


def _redraw() -> int:
    try:
        result = json.loads(RESULT.read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"{RESULT} cannot be read: {error}; run scripts/compare first") from error
    _write_docs(result)
    return 0


def _compare(options: argparse.Namespace, arguments: list[str], run: Path, processes: Processes) -> int:
    chosen = [peer for peer in peers.ALL if not options.peers or peer.is_floor or peer.name in options.peers]
    tools = _prepare(options, {peer.name for peer in chosen}, run)
    result = _describe(tools, chosen, arguments)
    good = _check(tools, processes, chosen, result)
    failed = result["not_measured"]
    for name, why in failed.items():
        print(f"compare: {name} is not measured: {why}", file=sys.stderr)
    if OURS in failed:
        raise Failure("without ringfort there is nothing to compare")
    if options.check:
        return 1 if failed else 0
    plan = _plan(options)
    asked = workloads.chosen(options.only or [])
    seconds = sum(plan.seconds(each, [peer for peer in good if each.asks(peer.name, peer.floors)]) for each in asked)
    print(f"the measurements take about {seconds / 60:.0f} minutes", file=sys.stderr)
    result |= {"rounds": plan.rounds, "idle_rounds": plan.idle_rounds}
    result |= {"warmup_s": plan.warmup_s, "duration_s": plan.duration_s}
    begun = time.monotonic()
    for workload in asked:
        result["workloads"][workload.key] = _measure(tools, processes, workload, good, plan, result)
        result["minutes"] = (time.monotonic() - begun) / 60
        # After each: what is measured outlives an interruption.
        _write(RESULT, json.dumps(result, indent=1) + "\n")
    print(report.table(result))
    print(f"all figures are in {RESULT.relative_to(install.ROOT)}")
    if options.write_docs:
        _write_docs(result)
    return 1 if failed or report.failures(result) else 0


def _plan(options: argparse.Namespace) -> Plan:
    if options.quick:
        return Plan(options.rounds or 3, 1, warmup_s=0.3, duration_s=1.0)
    return Plan(options.rounds or 5, min(options.rounds or 3, 3), warmup_s=1.0, duration_s=5.0)


def _prepare(options: argparse.Namespace, names: set[str], run: Path) -> Tools:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Failure(f"this process may use {len(cpus)} CPU; two are needed: one to measure, one for the load")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise Failure(f"the hard limit of open files is {hard}; {OPEN_FILES} are needed: raise it with ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    install.packages(names)
    envoy = install.envoy() if "envoy" in names else None
    ringfort, bench, loadgen = install.build(with_loadgen=not options.loadgen)
    # hitch leaves root before it reads some of its files.
    run.chmod(0o755)
    certificates = run / "certificates"
    install.certificates(ringfort, certificates)
    return Tools(
        ringfort=ringfort,
        loadgen=options.loadgen.resolve() if options.loadgen else loadgen,
        bench=bench,
        envoy=envoy,
        certificates=certificates,
        openssl_groups=install.openssl_groups(),
        run=run,
        gateway_cpu=cpus[0],
        load_cpu=cpus[-1],
    )


def _describe(tools: Tools, chosen: list[Peer], arguments: list[str]) -> dict[str, Any]:
    """What the figures hold for."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["scripts/compare", *arguments]),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": cpu[0].split(":", 1)[1].strip() if cpu else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "commit": install.run(["git", "describe", "--always", "--dirty"], "asking git for the commit").strip(),
        "subjects": {
            peer.name: {"version": peers.version(peer, tools), "note": peer.note, "is_floor": peer.is_floor}
            for peer in chosen
        },
        "not_measured": {},
        "workloads": {},
    }


def _check(tools: Tools, processes: Processes, chosen: list[Peer], result: dict[str, Any]) -> list[Peer]:
    """Those that do what is measured. What each does is in the result."""
    good = []
    for peer in chosen:
        try:
            truth = _truth(tools, processes, peer)
        except Failure as failure:
            result["not_measured"][peer.name] = str(failure)
            continue
        result["subjects"][peer.name]["truth"] = vars(truth)
        print(checks.line(peer.name, truth), flush=True)
        good.append(peer)
        if peer.http_template:
            http = _http_truth(tools, processes, peer)
            result["subjects"][peer.name]["http"] = vars(http)
            print(checks_http.line(peer.name, http), flush=True)
    return good


def _truth(tools: Tools, processes: Processes, peer: Peer) -> checks.Truth:
    origin = checks.EchoOrigin()
    try:
        running = peers.start(peer, tools, processes, origin.port, workloads.BY_KEY["full"])
        truth = checks.check(running, origin, tools.certificates)
        if not peer.is_floor:
            truth.mlkem = measure.mlkem_reason(tools, processes, running)
        processes.end(running.process)
        if not peer.is_floor:
            running = peers.start(peer, tools, processes, origin.port, workloads.BY_KEY["tickets"])
            truth.resumes = checks.check_resumption(running, tools.certificates, tools.run)
            processes.end(running.process)
        return truth
    finally:
        origin.close()


def _http_truth(tools: Tools, processes: Processes, peer: Peer) -> checks_http.HttpTruth:
    """What it does in HTTP; a peer that does not what it should there is still measured in TCP."""
    origin = checks_http.HttpOrigin()
    try:
        running = peers.start(peer, tools, processes, origin.port, workloads.BY_KEY["http-request"])
        truth = checks_http.check(running, origin, tools.certificates)
        processes.end(running.process)
        return truth
    except Failure as failure:
        return checks_http.HttpTruth(why=dict.fromkeys(checks_http.VERSIONS, str(failure)))
    finally:
        origin.close()


def _measure(
    tools: Tools, processes: Processes, workload: workloads.Workload, good: list[Peer], plan: Plan, result: dict[str, Any]
) -> dict[str, Any]:
    """One workload over all peers that can do it; the others' cells have the reason."""
    reasons = dict(result["not_measured"])
    for peer in good:
        truth = result["subjects"][peer.name]["truth"]
        if workload.sessions != "off" and truth["resumes"]:
            reasons[peer.name] = truth["resumes"]
        if workload.group == workloads.MLKEM and truth["mlkem"]:
            reasons[peer.name] = truth["mlkem"]
        if workload.http and not peer.is_floor and (
            why := _http_reason(result["subjects"][peer.name], workload.http)
        ):
            reasons[peer.name] = why
    asked = [peer for peer in good if workload.asks(peer.name, peer.floors)]
    able = [peer for peer in asked if peer.name not in reasons]
    row = {"cells": {}, "latency_ns": []}
    if able:
        row = measure.rounds(tools, processes, workload, able, plan, report.progress)
    of_floors = {peer.name: peer.floors for peer in peers.ALL}
    floors = {name for name, kinds in of_floors.items() if kinds}
    without = {name: {"why": why} for name, why in reasons.items() if workload.asks(name, of_floors[name])}
    row["cells"] |= without
    about = {"title": workload.title, "unit": workload.unit, "throughput": workload.throughput}
    return about | row | figures.summary(row["cells"], floors)


def _http_reason(subject: dict[str, Any], version: str) -> str:
    """Empty where it does in that version of HTTP what is measured; else why not."""
    return str(subject["http"]["why"].get(version, "")) if "http" in subject else "is no HTTP proxy"


def _write_docs(result: dict[str, Any]) -> None:
    _write(DOCS / "benchmarks.md", report.page(result))
    _write(DOCS / "benchmarks.svg", plot.svg(result))
    print("wrote docs/benchmarks.md and docs/benchmarks.svg")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error}") from error
