"""What is measured: each workload as the arguments of the load generator, and its units."""

from __future__ import annotations

from dataclasses import dataclass

MLKEM = "X25519MLKEM768"
SUITE = "TLS_AES_128_GCM_SHA256"
MESSAGE_BYTES = 128
IDLE_CONNECTIONS = 2000
# Clients that take turns, each with a certificate of its own; every run makes new ones.
CLIENTS = 10_000
# For as long until all of them have come once.
WARMUP_S = 16.0
# What the lists of the rows "with lists" have: of the root, and of the intermediate.
REVOKED = 100_000

# What ALPN calls the versions.
ALPN = {"HTTP/1.1": "http/1.1", "HTTP/2": "h2"}


@dataclass(frozen=True)
class Workload:
    """One row of the result. `arguments` follow the name of the program."""

    key: str
    title: str
    arguments: tuple[str, ...]
    origin: str
    unit: str = "us"
    throughput: str = "op/s"
    group: str = "X25519"
    # "off", "tickets" or "cache": where the server keeps sessions.
    sessions: str = "off"
    # What the floors keep, by the name that they know it by; "" is no floor.
    floor: str = ""
    # Only these, and the floors; none is everybody.
    peers: tuple[str, ...] = ()
    # Clients that take turns; 0 is always the same one.
    clients: int = 0
    # Chains that ringfort remembers the verdict of.
    verdicts: int = 16_384
    with_lists: bool = False
    # Seconds that it runs before it is measured, where that is more than the plan's.
    warmup_s: float = 0.0
    # The version that the client speaks, "HTTP/1.1" or "HTTP/2"; "" is TCP.
    http: str = ""
    # Bytes of application data that each operation carries at least.
    operation_bytes: int = 0

    def asks(self, name: str, floors: tuple[str, ...]) -> bool:
        """Whether this one takes part; `floors` are those that it can be the floor of."""
        return self.floor in floors if floors else not self.peers or name in self.peers

    @property
    def is_idle(self) -> bool:
        """Memory is measured instead of time."""
        return self.arguments[0] == "idle"

    @property
    def is_bulk(self) -> bool:
        """Costs count per byte."""
        return self.arguments[0] == "bulk"


_HANDSHAKE = ("handshake", "--connections", "4", "--exchange", str(MESSAGE_BYTES))
_RESUMED = (*_HANDSHAKE, "--resume", "1")
# Those that speak HTTP.
HTTP_PEERS = ("ringfort", "envoy", "nginx", "haproxy")
# What a request asks for, and what it is held to.
_GET = ("--path", f"/bytes/{MESSAGE_BYTES}", "--expect", str(MESSAGE_BYTES))
_HTTP1 = ("--proto", "http", "--alpn", "http/1.1")


def _body(direction: str, mebibytes: int, connections: int) -> Workload:
    """Bodies one way over HTTP/1.1."""
    size = ("--size", f"{mebibytes}MiB", "--direction", direction, "--connections", str(connections))
    title = f"HTTP/1.1 bodies of {mebibytes} MiB {direction}, {connections} connections"
    return Workload(f"http-{direction}-{mebibytes}m", title, ("bulk", *_HTTP1, *size), "http", unit="ns/B",
                    throughput="MB/s", peers=HTTP_PEERS, http="HTTP/1.1", operation_bytes=mebibytes << 20)  # fmt: skip


def _streams(streams: int, connections: int) -> Workload:
    """Requests over HTTP/2."""
    arguments = ("request", "--proto", "h2", "--streams", str(streams), "--connections", str(connections), *_GET)
    title = f"HTTP/2 GET of {MESSAGE_BYTES} B, {streams} at a time on each of {connections} connections"
    return Workload(f"h2-{streams}", title, arguments, "http", peers=HTTP_PEERS, http="HTTP/2",
                    operation_bytes=MESSAGE_BYTES)  # fmt: skip


_BULK = ("bulk", "--proto", "tcp", "--connections", "8", "--size", "1MiB", "--direction")

ALL = [
    Workload("full", "full handshake, X25519, chain seen before", _HANDSHAKE, "echo", floor="seen"),
    Workload("new", "full handshake, chain new: clients that never come back", _HANDSHAKE, "echo", floor="new",
             peers=("ringfort", "envoy"), clients=CLIENTS, verdicts=64),
    Workload("rotation", f"full handshake, {CLIENTS:,} clients in rotation, all seen before", _HANDSHAKE, "echo",
             peers=("ringfort",), clients=CLIENTS, warmup_s=WARMUP_S),
    Workload("lists", "full handshake, chain seen before, lists of revocation", _HANDSHAKE, "echo", floor="seen",
             peers=("ringfort",), with_lists=True),
    Workload("mlkem", "full handshake, X25519MLKEM768", _HANDSHAKE, "echo", group=MLKEM),
    Workload("tickets", "resumed handshake, sessions in tickets", _RESUMED, "echo", sessions="tickets",
             floor="tickets"),
    Workload("cache", "resumed handshake, sessions kept by the server", _RESUMED, "echo", sessions="cache",
             floor="cache", peers=("ringfort", "nginx", "haproxy")),
    Workload("resumed-lists", "resumed handshake, sessions kept by the server, lists of revocation", _RESUMED, "echo",
             sessions="cache", floor="cache", peers=("ringfort",), with_lists=True),
    Workload(
        "request",
        "round trip of 128 B, 64 connections",
        ("request", "--proto", "tcp", "--size", str(MESSAGE_BYTES), "--connections", "64"),
        "echo",
    ),
    Workload("down", "bulk down, 8 connections", (*_BULK, "down"), "chargen", unit="ns/B", throughput="MB/s"),
    Workload("up", "bulk up, 8 connections", (*_BULK, "up"), "discard", unit="ns/B", throughput="MB/s"),
    Workload(
        "idle",
        "memory of an idle connection",
        ("idle", "--connections", str(IDLE_CONNECTIONS)),
        "echo",
        unit="KiB",
        throughput="",
    ),
    Workload("http-request", f"HTTP/1.1 GET of {MESSAGE_BYTES} B, 64 connections",
             ("request", *_HTTP1, "--connections", "64", *_GET), "http", floor="exchange", peers=HTTP_PEERS,
             http="HTTP/1.1", operation_bytes=MESSAGE_BYTES),
    # Of the long ones fewer at a time, so that some end within a second.
    _body("down", 1, 8), _body("up", 1, 8), _body("down", 64, 2), _body("up", 64, 2),
    # About as many requests at a time as over HTTP/1.1, until a connection carries more than that by itself.
    _streams(1, 64), _streams(10, 8), _streams(100, 2),
]  # fmt: skip

BY_KEY = {workload.key: workload for workload in ALL}
# Names for many of them.
GROUPS = {
    "tcp": [workload for workload in ALL if not workload.http],
    "http": [workload for workload in ALL if workload.http],
}


def chosen(names: list[str]) -> list[Workload]:
    """Those of these keys and groups, in their order; without any, all."""
    wanted = {each.key for name in names for each in GROUPS.get(name, [BY_KEY[name]] if name in BY_KEY else [])}
    return [workload for workload in ALL if not names or workload.key in wanted]
