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

    def asks(self, name: str, is_floor: bool) -> bool:
        """Whether this one takes part."""
        return bool(self.floor) if is_floor else not self.peers or name in self.peers

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
]  # fmt: skip

BY_KEY = {workload.key: workload for workload in ALL}
