"""Whether a peer does what it is measured at, seen from outside by `openssl s_client`.

A peer that lets a stranger in, negotiates something else or answers nothing is not measured.
"""

from __future__ import annotations

import queue
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from peers import Running
from processes import Failure
from workloads import MESSAGE_BYTES, SUITE

REPLY_TIMEOUT_S = 10.0


class EchoOrigin:
    """An origin that sends back what comes, and remembers that anything came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self.bytes_seen = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.bytes_seen += len(data)
                    connection.sendall(data)
            except OSError:
                pass

    def close(self) -> None:
        """Takes no more connections."""
        # close(2) alone would leave the thread in accept(2).
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@dataclass(frozen=True)
class Seen:
    """What one run of `openssl s_client` showed."""

    echoed: bool
    is_resumed: bool
    suite: str | None
    group: str | None
    tickets: int
    refusal: str | None


@dataclass
class Truth:
    """The verdict on one peer; a `resumes` or `mlkem` that is not empty is the reason why not."""

    suite: str = ""
    group: str = ""
    tickets_when_off: int = 0
    resumes: str = ""
    mlkem: str = ""
    is_peer: bool = True
    refusals: dict[str, str] = field(default_factory=dict)


def client(port: int, certificates: Path, *more: str) -> Seen:
    """Connects, sends a line, and reads until it comes back or the connection ends."""
    command = [
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost",
        "-CAfile", str(certificates / "root.pem"), "-verify_return_error", "-tls1_3",
        "-ciphersuites", SUITE, "-groups", "X25519", *more,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        return parse(_converse(process))
    finally:
        process.kill()
        process.wait()


# With its end of line as long as a message: the floor reads no other.
LINE = "ping of the comparison ".ljust(MESSAGE_BYTES - 1, ".")


def _converse(process: subprocess.Popen[bytes]) -> str:
    """All output, until the line is back, the client ends, or the time is over."""
    assert process.stdin and process.stdout
    pieces: queue.Queue[bytes] = queue.Queue()
    stream = process.stdout

    def read() -> None:
        while piece := stream.read1(65536):
            pieces.put(piece)
        pieces.put(b"")

    threading.Thread(target=read, daemon=True).start()
    _write(process, f"{LINE}\n".encode())
    text, is_open = "", True
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            piece = pieces.get(timeout=0.2)
        except queue.Empty:
            continue
        text += piece.decode(errors="replace")
        if not piece:
            break
        if LINE in text and is_open:
            # A "Q" of its own line ends s_client in order, which also writes the session.
            _write(process, b"Q\n")
            is_open = False
    return text


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin
    try:
        process.stdin.write(data)
        process.stdin.flush()
    except BrokenPipeError:
        pass


def parse(output: str) -> Seen:
    """Reads what `openssl s_client` of OpenSSL 3 prints."""
    session = re.search(r"^(New|Reused), TLSv1\.3, Cipher is (\S+)", output, re.MULTILINE)
    group = re.search(r"^(?:Server Temp Key|Negotiated TLS1\.3 group): ([^,\s]+)", output, re.MULTILINE)
    alert = re.search(r"alert ([a-z ]+):.*SSL alert number (\d+)", output)
    refusal = f"{alert[1]} ({alert[2]})" if alert else None
    if refusal is None and LINE not in output:
        refusal = "closed without an alert"
    return Seen(
        echoed=LINE in output,
        is_resumed=bool(session and session[1] == "Reused"),
        suite=session[2] if session else None,
        group=group[1] if group else None,
        tickets=output.count("New Session Ticket arrived"),
        refusal=refusal,
    )


def own_certificate(certificates: Path, name: str = "client") -> list[str]:
    """The arguments that present a certificate with its intermediate."""
    prefix = "" if name == "client" else f"{name}-"
    return [
        "-cert", str(certificates / f"{name}.pem"), "-key", str(certificates / f"{name}.key"),
        "-cert_chain", str(certificates / f"{prefix}intermediate.pem"),
    ]  # fmt: skip


def check(running: Running, origin: EchoOrigin, certificates: Path) -> Truth:
    """Refuses no certificate and a stranger's, accepts the right one, keeps to suite and group."""
    name, truth = running.peer.name, Truth(is_peer=not running.peer.is_floor)
    before = origin.bytes_seen
    strangers = {"no certificate": [], "another authority's": own_certificate(certificates, "stranger")}
    for what, arguments in strangers.items():
        seen = client(running.port, certificates, *arguments)
        if seen.echoed or origin.bytes_seen > before:
            raise Failure(f"{name} lets a client with {what} through: it must refuse it")
        truth.refusals[what] = seen.refusal or ""
    seen = client(running.port, certificates, *own_certificate(certificates))
    if not seen.echoed:
        raise Failure(f"{name} refuses the client with the right certificate: {seen.refusal}")
    if running.peer.asks_origin and origin.bytes_seen == before:
        raise Failure(f"{name} answers the client and asked no origin")
    if (seen.suite, seen.group) != (SUITE, "X25519"):
        raise Failure(f"{name} negotiated {seen.suite} and {seen.group}, not {SUITE} and X25519")
    truth.suite, truth.group = str(seen.suite), str(seen.group)
    truth.tickets_when_off = seen.tickets
    return truth


def check_resumption(running: Running, certificates: Path, folder: Path) -> str:
    """Empty where a second connection truly resumed the first; else why it did not."""
    session = folder / "session.pem"
    session.unlink(missing_ok=True)
    arguments = own_certificate(certificates)
    first = client(running.port, certificates, *arguments, "-sess_out", str(session))
    if not first.echoed:
        raise Failure(f"{running.peer.name} refuses the right client while tickets are on: {first.refusal}")
    if first.tickets == 0:
        return "does not resume yet: it gives no ticket"
    second = client(running.port, certificates, *arguments, "-sess_in", str(session))
    if not second.is_resumed:
        return "does not resume: it gives a ticket and does a full handshake all the same"
    if not second.echoed:
        return f"does not resume: the resumed connection carries nothing ({second.refusal})"
    return ""


def line(name: str, truth: Truth) -> str:
    """One peer's verdict, for a person."""
    refused = ", ".join(f"{what}: {how}" for what, how in truth.refusals.items())
    facts = [f"refuses {refused}", f"{truth.suite} {truth.group}", f"{truth.tickets_when_off} tickets when off"]
    if truth.is_peer:
        facts.append(truth.resumes or "resumes")
        facts.append(f"X25519MLKEM768: {truth.mlkem or 'yes'}")
    return f"{name:<20} {'; '.join(facts)}"
