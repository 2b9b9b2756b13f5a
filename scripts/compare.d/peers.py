"""The systems that are compared: how each is configured, started and asked for its version.

A peer runs on the first CPU with one worker, takes TLS on one port and relays to one origin.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from figures import RELAY
from processes import Failure, Processes, free_port, wait_listening
from workloads import ALPN, Workload

HERE = Path(__file__).resolve().parent
# An authority that has a list has to be known, though clients present it.
LISTS = 'client_intermediates = "@CERTS@/intermediate.pem"\nclient_crl = "@CERTS@/lists.pem"'

# What the floors of rustls know.
HANDSHAKES = ("seen", "new", "tickets", "cache")


@dataclass(frozen=True)
class Tools:
    """Where the programs are."""

    ringfort: Path
    loadgen: Path
    bench: Path
    envoy: Path | None
    certificates: Path
    openssl_groups: str
    run: Path
    gateway_cpu: int
    load_cpu: int


@dataclass(frozen=True)
class Peer:
    """One system. `sessions` are the values of its template, by where it keeps sessions."""

    name: str
    template: str | None
    command: Callable[[Tools, str, int, int, str], list[str]]
    version: Callable[[Tools], list[str]]
    says: str
    note: str
    sessions: dict[str, dict[str, str]] = field(default_factory=dict)
    # What the floors are of, by the name that the workloads have for it; a peer is of none.
    floors: tuple[str, ...] = ()
    # Its configuration as an HTTP proxy; without one it is none.
    http_template: str | None = None
    asks_origin: bool = True
    # OpenSSL gives tickets that only its configuration file can switch off.
    needs_openssl_cnf: bool = False

    @property
    def is_floor(self) -> bool:
        """It is no peer, but what a peer is compared with."""
        return bool(self.floors)

    @property
    def uses_openssl(self) -> bool:
        """The system's OpenSSL decides which groups there are."""
        return self.note.startswith("OpenSSL")


@dataclass(frozen=True)
class Running:
    """A peer that listens."""

    peer: Peer
    port: int
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process that all others of the peer descend from."""
        return self.process.pid


def _envoy(tools: Tools) -> str:
    if tools.envoy is None:
        raise Failure("Envoy is asked for, and was not installed")
    return str(tools.envoy)


def _floor(tools: Tools, port: int, mode: str) -> list[str]:
    return [str(tools.bench), "--serve-floor", f"127.0.0.1:{port}", str(tools.certificates), mode]


def _ringfort_version(tools: Tools) -> list[str]:
    return [str(tools.ringfort), "--version"]


ALL = [
    Peer(
        name="ringfort",
        template="ringfort.toml",
        http_template="ringfort-http.toml",
        command=lambda tools, config, port, origin, floor: [str(tools.ringfort), "run", "--config", config],
        version=_ringfort_version,
        says=r"ringfort \S+",
        note="rustls, aws-lc-rs, io_uring",
    ),
    Peer(
        name="envoy",
        template="envoy.yaml",
        http_template="envoy-http.yaml",
        command=lambda tools, config, port, origin, floor: [
            _envoy(tools), "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
        ],
        version=lambda tools: [_envoy(tools), "--version"],
        says=r"version: \S*?/(\S+)",
        note="BoringSSL, epoll",
        sessions={"tickets": {"NOT_TICKETS": "false"}, "off": {"NOT_TICKETS": "true"}},
    ),
    Peer(
        name="nginx",
        template="nginx.conf",
        http_template="nginx-http.conf",
        command=lambda tools, config, port, origin, floor: ["nginx", "-c", config],
        version=lambda tools: ["nginx", "-V"],
        says=r"nginx/\d\S*|OpenSSL \S+",
        note="OpenSSL, epoll",
        sessions={
            "tickets": {"ON_OFF": "on", "TICKETS": "1", "NGINX_CACHE": "none"},
            "cache": {"ON_OFF": "off", "TICKETS": "1", "NGINX_CACHE": "shared:tls:64m"},
            "off": {"ON_OFF": "off", "TICKETS": "0", "NGINX_CACHE": "none"},
        },
    ),
    Peer(
        name="haproxy",
        template="haproxy.cfg",
        http_template="haproxy-http.cfg",
        command=lambda tools, config, port, origin, floor: ["haproxy", "-db", "-f", config],
        version=lambda tools: ["haproxy", "-vv"],
        says=r"HAProxy version \S+|OpenSSL version : OpenSSL \S+",
        note="OpenSSL, epoll",
        sessions={
            "tickets": {"HAPROXY_TICKETS": ""},
            "cache": {"HAPROXY_TICKETS": "no-tls-tickets"},
            "off": {"HAPROXY_TICKETS": "no-tls-tickets"},
        },
        needs_openssl_cnf=True,
    ),
    Peer(
        name="hitch",
        template="hitch.conf",
        command=lambda tools, config, port, origin, floor: ["hitch", f"--config={config}"],
        version=lambda tools: ["hitch", "--version"],
        says=r"hitch \S+",
        note="OpenSSL, libev",
        needs_openssl_cnf=True,
    ),
    Peer(
        name="stunnel",
        template="stunnel.conf",
        command=lambda tools, config, port, origin, floor: ["stunnel4", config],
        version=lambda tools: ["stunnel4", "-version"],
        says=r"stunnel \S+|OpenSSL \S+",
        note="OpenSSL, a thread per connection",
        sessions={
            "tickets": {"YES_NO": "yes", "STUNNEL_TICKETS": "options = -NO_TICKET"},
            "off": {"YES_NO": "no", "STUNNEL_TICKETS": "options = NO_TICKET"},
        },
    ),
    Peer(
        name="floor",
        template=None,
        command=lambda tools, config, port, origin, floor: _floor(tools, port, floor),
        version=_ringfort_version,
        says=r"ringfort \S+",
        note="rustls behind a blocking accept loop, which echoes by itself",
        floors=HANDSHAKES,
        asks_origin=False,
    ),
    Peer(
        name="floor with upstream",
        template=None,
        command=lambda tools, config, port, origin, floor: [*_floor(tools, port, floor), f"127.0.0.1:{origin}"],
        version=_ringfort_version,
        says=r"ringfort \S+",
        note="the same, which asks the origin",
        floors=HANDSHAKES,
    ),
    # The same exchange on the same ring and TLS: what it costs more is what HTTP costs.
    Peer(
        name=RELAY,
        template="ringfort.toml",
        command=lambda tools, config, port, origin, floor: [str(tools.ringfort), "run", "--config", config],
        version=_ringfort_version,
        says=r"ringfort \S+",
        note="ringfort in TCP mode, which takes nothing apart",
        floors=("exchange",),
    ),
]


def start(peer: Peer, tools: Tools, processes: Processes, origin: int, workload: Workload) -> Running:
    """Starts a peer before the origin on that port, and waits until it listens."""
    folder = tools.run / peer.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # A floor relays the same bytes without knowing what they are.
    template = peer.http_template if workload.http and not peer.is_floor else peer.template
    config = folder / (template or "none")
    if template:
        config.write_text(_configure(peer, template, tools, folder, port, origin, workload))
    log = folder / "output.log"
    pinned = ["taskset", "--cpu-list", str(tools.gateway_cpu)]
    command = pinned + peer.command(tools, str(config), port, origin, workload.floor)
    no_tickets = {"OPENSSL_CONF": str(HERE / "openssl.cnf")}
    environment = no_tickets if peer.needs_openssl_cnf and workload.sessions == "off" else {}
    process = processes.start(command, log, environment)
    wait_listening(port, process, peer.name, log)
    return Running(peer, port, process)


def _configure(
    peer: Peer, template: str, tools: Tools, folder: Path, port: int, origin: int, workload: Workload
) -> str:
    values = {
        "PORT": str(port),
        "ORIGIN_PORT": str(origin),
        "CERTS": str(tools.certificates),
        "RUN": str(folder),
        "CPU": str(tools.gateway_cpu),
        "GROUPS": tools.openssl_groups,
        # hitch refuses to serve as root, and no one else may change users.
        "HITCH_USER": 'user = "_hitch"' if os.geteuid() == 0 else "",
        "RESUMPTION": workload.sessions,
        "ALPN": f'alpn = ["{ALPN[workload.http]}"]' if workload.http else "",
        "VERDICTS": str(workload.verdicts),
        "LISTS": LISTS.replace("@CERTS@", str(tools.certificates)) if workload.with_lists else "",
    } | peer.sessions.get(workload.sessions, {})
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def version(peer: Peer, tools: Tools) -> str:
    """What the program says of itself, and of its TLS library where it says that."""
    done = subprocess.run(peer.version(tools), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = list(dict.fromkeys(match[0] for match in re.finditer(peer.says, done.stdout)))
    if not found:
        raise Failure(f"{peer.name} does not tell its version: {done.stdout.strip()[:200]}")
    return ", ".join(found)
