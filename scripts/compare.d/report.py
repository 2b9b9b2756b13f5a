"""The result as a person reads it: a progress line, the table, the page. Pure, but for progress."""

from __future__ import annotations

import sys
from typing import Any

import budgets
from checks_http import ORIGIN_CONNECTIONS_MAX, REQUESTS
from figures import OURS, Cell, Sample
from workloads import CLIENTS, IDLE_CONNECTIONS, MESSAGE_BYTES, REVOKED, SUITE, WARMUP_S, Workload

Row = dict[str, Any]


def progress(workload: Workload, turn: int, name: str, sample: Sample | None, why: str) -> None:
    """What was just measured."""
    shown = f"{number(sample['cost'])} {workload.unit}" if sample else why
    print(f"{workload.key:<13} round {turn + 1} {name:<20} {shown}", file=sys.stderr, flush=True)


def number(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def headings(row: Row) -> list[str]:
    """The first line of the table of one workload."""
    if not row["throughput"]:
        return ["", "server memory", "+-"]
    return ["", "server CPU", "+-", "throughput", "p50", "p99", "generator CPU"]


def cells(row: Row, name: str, cell: Cell) -> list[str]:
    """A line of the table of one workload."""
    if "cost" not in cell:
        return [name, cell["why"]]
    cost = f"{number(cell['cost'])} {row['unit']}"
    shown = [name, cost, f"{cell['spread_percent']:.0f} %"]
    if "throughput" not in cell:
        return shown
    bound = " (bound)" if cell["generator_bound"] else ""
    return [
        *shown,
        f"{number(cell['throughput'])} {row['throughput']}",
        f"{number(cell['p50_us'])} us",
        f"{number(cell['p99_us'])} us",
        f"{number(cell['generator'])} {row['unit']}{bound}",
    ]


def verdict(row: Row) -> str:
    """How ringfort stands, in a sentence."""
    parts = []
    if row["ratio"] is not None:
        parts.append(f"{OURS} / {row['best_peer']} = {row['ratio']:.2f}")
    for name, ratio in row.get("floor_ratios", {}).items():
        if ratio is not None:
            parts.append(f"{OURS} / {name} = {ratio:.2f}")
    if row.get("upstream_connection_us") is not None:
        parts.append(f"one upstream connection costs {number(row['upstream_connection_us'])} us")
    parts.append(f"cache line {' '.join(map(str, row['latency_ns']))} ns" if row["latency_ns"] else "not measured")
    return "; ".join(parts)


def lines(row: Row) -> list[list[str]]:
    """All of a workload's lines, the cheapest first, those without a figure last."""
    ordered = sorted(row["cells"].items(), key=lambda item: item[1].get("cost", float("inf")))
    return [cells(row, name, cell) for name, cell in ordered]


def failures(result: dict[str, Any]) -> list[str]:
    """What was measured and failed in some round."""
    found = []
    for key, row in result["workloads"].items():
        for name, cell in row["cells"].items():
            if "failed_rounds" in cell:
                found.append(f"{key}: {name}: {cell['failed_rounds']['count']} rounds: {cell['failed_rounds']['why']}")
    return found


def table(result: dict[str, Any]) -> str:
    """For a terminal."""
    text = []
    for row in result["workloads"].values():
        head, body = headings(row), lines(row)
        # A reason is as long as it is: it takes the columns that have no figure.
        full = [head, *(line for line in body if len(line) == len(head))]
        widths = [max(len(line[index]) for line in full) for index in range(len(head))]
        widths[0] = max(len(line[0]) for line in body)
        text.append(f"\n{row['title']}")
        for line in [head, *body]:
            text.append("  ".join(part.ljust(width) for part, width in zip(line, widths)).rstrip())
        text.append(verdict(row))
    bounds = [" ".join(line) for line in _budgets(result)]
    return "\n".join([*text, "", *bounds, *failures(result), *_time(result)])


def _budgets(result: dict[str, Any]) -> list[list[str]]:
    """Each bound: what, the figure, what it may be, and whether that is met."""
    return [
        [each.what, f"{number(each.found)} {each.unit}".rstrip(), f"<= {number(each.bound)}",
         "met" if each.is_met else "missed"]
        for each in budgets.judge(result)
    ]  # fmt: skip


def _time(result: dict[str, Any]) -> list[str]:
    """How long all of it took, where that is known."""
    return [f"All of it took {result['minutes']:.0f} minutes."] if "minutes" in result else []


def _markdown(row: Row) -> str:
    head = headings(row)
    text = [f"### {row['title'][0].upper()}{row['title'][1:]}", "", _line(head), "|" + "---|" * len(head)]
    for line in lines(row):
        shown = [f"**{part}**" for part in line] if line[0] == OURS else line
        text.append(_line([part.replace("|", "/") for part in shown] + [""] * (len(head) - len(line))))
    return "\n".join([*text, "", f"{verdict(row)}.", ""])


def _line(parts: list[str]) -> str:
    return "| " + " | ".join(parts) + " |"


def page(result: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    rows = "\n".join(_markdown(row) for row in result["workloads"].values())
    subjects = "\n".join(
        _line([name, about["version"], about["note"], _truth(about.get("truth", {})), _http(about.get("http", {}))])
        for name, about in result["subjects"].items()
    )
    short = f"{result['rounds']} rounds of {result['duration_s']:g} s after {result['warmup_s']:g} s of warm-up"
    failed = "".join(f"- Failed: {each}\n" for each in failures(result))
    return PAGE.format(
        **{key: result[key] for key in ["date", "command", "kernel", "cpu", "cpus", "commit", "idle_rounds"]},
        budgets="\n".join(map(_line, _budgets(result))),
        rows=rows, subjects=subjects, short=short, failed=failed, suite=SUITE, minutes=" ".join(_time(result)),
        requests=REQUESTS, connections=ORIGIN_CONNECTIONS_MAX,
        message=MESSAGE_BYTES, idle=IDLE_CONNECTIONS, clients=CLIENTS, warmup=WARMUP_S, revoked=REVOKED,
    )  # fmt: skip


def _truth(truth: dict[str, Any]) -> str:
    if not truth:
        return "not measured"
    refused = "; ".join(f"{what}: {how}" for what, how in truth["refusals"].items())
    resumes = (truth["resumes"] or "resumes") if truth["is_peer"] else "not asked to resume"
    return f"refuses {refused}; {resumes}"


def _http(http: dict[str, Any]) -> str:
    """The last cell of who is compared: the fields that it sends to the origin, or why there are none."""
    return "; ".join([*http.get("why", {}).values(), ", ".join(http.get("fields", [])) or "-"])


PAGE = """\
# Benchmarks: ringfort beside its peers

<!-- Written by scripts/compare --write-docs. Do not edit. -->

![CPU time of the server for each workload](benchmarks.svg)

Measured on {date} at commit {commit}: {cpu}, {cpus} CPUs, {kernel}, over loopback. The command, which
installs what it needs:

```sh
{command}
```

{short}; the memory in {idle_rounds}. {minutes}

## Results

The figures are medians over the rounds, `+-` is half of the range in percent. CPU is what the kernel
charged to the server (all of its processes and threads) or to the load generator, per operation or per
byte. `(bound)` says that the load generator and not the server was the limit of the throughput. A ratio
is the median of the ratios of single rounds; below 1 ringfort is cheaper.

{rows}
{failed}
## Budgets

| what | found | bound | |
|---|---|---|---|
{budgets}

The floors of 268, 161 and 105 us, of 8.3 us and of 0.39 ns per byte are the plan's, from another machine.

## Who is compared

| | version | made of | what `openssl s_client` saw | fields of HTTP that the origin sees |
|---|---|---|---|---|
{subjects}

## Method

- The server has one worker on the first CPU. The load generator and the origin share the last one.
- All servers of a workload run at the same time; they are loaded in turn, one round after the other,
  and each round begins with another one. Machines drift: only figures of one round are comparable.
  Some virtual machines have regimes that differ by the latency of a cache line between the CPUs. It is
  probed before each round and stands below each table.
- A handshake is connect, handshake, one exchange of {message} bytes and close, 4 at a time.
- A resumed handshake is the same with a ticket, which holds the session or names it. Sessions are kept
  in these workloads only. A floor of rustls does the same: it resumes, or takes a chain that it has
  verified once for good. It does not ask whether that has expired or was revoked since, and for whom.
- Where the chain is new, {clients:,} clients take turns, made for each run, and ringfort remembers 64 chains.
  In rotation it remembers all of them, after a warm-up of {warmup:g} s. Where the chain was seen, one client
  comes again and again; the peers verify its chain each time.
- The lists of revocation have {revoked:,} entries of the root, and as many of the intermediate; each
  certificate of the path is looked up.
- A round trip is {message} bytes there and back. Bulk is operations of 1 MiB one way.
- A request of HTTP is a GET of {message} bytes on a connection that stays open; the answer's length is checked. Over
  HTTP/2 each connection carries 1, 10 or 100 at a time; to the origin all speak HTTP/1.1, on kept connections. Bodies
  have a Content-Length; the ones of 64 MiB are 2 at a time. The origin is the load generator's own.
- The relay of bytes is ringfort in TCP mode, before the same origin: it carries the same requests and takes nothing
  apart. What a request costs above it is what HTTP costs.
- Memory is what the resident size of a fresh server grows by, divided by {idle} idle connections,
  after 64 others had it allocate what it allocates once. The origin's side of each is open too.
- The floor is rustls behind a blocking accept loop that echoes by itself: the least that a handshake and
  its sockets cost. The floor with upstream connects to the origin, relays the exchange, shuts down and
  closes; the difference of the two is the cost of one upstream connection.

## What makes it fair

- The same P-256 certificates (root, intermediate, leaf) on both sides, TLS 1.3, {suite}, X25519. A
  client certificate is required, and its chain is verified.
- The same TCP or HTTP mode before the same origin, access logs off, TCP_NODELAY on, buffers of 64 KiB where
  there is a setting, no session tickets where tickets are not what is measured.
- In HTTP: no fields added that no other adds, where there is a setting (the table above has what the origin sees), no
  body kept back or put into a file, connections to the origin kept and used by whatever request comes next.
- The configurations are short and say why each line is there: see `scripts/compare.d/`.
- Before anything is measured each server has to refuse a client without certificate and one of another
  authority, with no byte at the origin; to echo for the right one; and to negotiate the suite and group.
  Whether it resumes is decided by a second connection that does. In HTTP it has to answer curl in both versions with
  the right status and length, forward Host and a field as they were sent, carry a body of 1 MiB each way, and ask the
  origin {requests} times on at most {connections} connections.

## What is not measured

- Networks: loopback has no losses, no interrupts of a card and no offloads.
- More than one worker, and other machines. Throughput is what one CPU of load and origin can ask for.
- Latency at a given rate: here it is what a closed loop sees, with all connections busy.
- Kernel memory: sockets have buffers that no resident size shows.
- Other builds of the peers: newer OpenSSL than the distribution's is faster at some of this.
"""
