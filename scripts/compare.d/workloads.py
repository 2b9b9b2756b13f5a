"""What is measured: each workload as the arguments of the load generator, and its units."""

from __future__ import annotations

from dataclasses import dataclass

MLKEM = "X25519MLKEM768"
SUITE = "TLS_AES_128_GCM_SHA256"
MESSAGE_BYTES = 128
IDLE_CONNECTIONS = 2000


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
    tickets: bool = False
    with_floor: bool = False

    @property
    def is_idle(self) -> bool:
        """Memory is measured instead of time."""
        return self.arguments[0] == "idle"

    @property
    def is_bulk(self) -> bool:
        """Costs count per byte."""
        return self.arguments[0] == "bulk"


_HANDSHAKE = ("handshake", "--connections", "4", "--exchange", str(MESSAGE_BYTES))
_BULK = ("bulk", "--proto", "tcp", "--connections", "8", "--size", "1MiB", "--direction")

ALL = [
    Workload("full", "full handshake, X25519", _HANDSHAKE, "echo", with_floor=True),
    Workload("mlkem", "full handshake, X25519MLKEM768", _HANDSHAKE, "echo", group=MLKEM),
    Workload("resumed", "resumed handshake", (*_HANDSHAKE, "--resume", "1"), "echo", tickets=True),
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
