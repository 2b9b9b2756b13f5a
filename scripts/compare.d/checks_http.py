"""Whether a peer does in HTTP what it is measured at, seen from outside by curl and from behind.

A peer that lets a stranger's request through, changes an answer, drops a field or opens a connection
to the origin for each request is not measured in HTTP.
"""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from peers import Running
from processes import Failure

ANSWER_TIMEOUT_S = 10
# Requests one after the other on one connection, and how many the origin may see for them.
REQUESTS = 8
ORIGIN_CONNECTIONS_MAX = 2
BODY_BYTES = 1 << 20
SMALL_BYTES = 128
# What curl writes about each answer.
WRITTEN = "%{http_code} %{size_download} %{http_version}\n"
VERSIONS = {"HTTP/1.1": "--http1.1", "HTTP/2": "--http2"}


class HttpOrigin(ThreadingHTTPServer):
    """Answers /bytes/N with so many zeros, and remembers what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = int(self.server_address[1])
        self.requests = 0
        self.connections = 0
        self.body_bytes = 0
        self.fields: dict[str, str] = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpOrigin

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def answer(self) -> None:
        taken = body_bytes(self)
        with self.server.lock:
            self.server.requests += 1
            self.server.body_bytes += taken
            self.server.fields = {name.lower(): value for name, value in self.headers.items()}
        number = self.path.removeprefix("/bytes/")
        length = int(number) if number.isdecimal() else 0
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(bytes(length))

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def body_bytes(request: BaseHTTPRequestHandler) -> int:
    """Takes the body of a request, with a length or in chunks; returns how long it was."""
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return len(request.rfile.read(int(request.headers.get("Content-Length", 0))))
    taken = 0
    while size := int(request.rfile.readline().split(b";")[0], 16):
        taken += len(request.rfile.read(size))
        request.rfile.readline()
    while request.rfile.readline().strip():
        pass
    return taken


@dataclass
class HttpTruth:
    """The verdict on one peer in HTTP: by version, the reason why it is not measured in it."""

    why: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    origin_connections: int = 0


@dataclass(frozen=True)
class Answer:
    """What curl saw of one answer."""

    status: int
    bytes: int
    version: str


def curl(port: int, certificates: Path, name: str, *more: str) -> list[Answer]:
    """The answers to one run of curl as that client; none where it was refused before any."""
    own = ["--cert", str(certificates / f"{name}.pem"), "--key", str(certificates / f"{name}.key")] if name else []
    command = [
        "curl", "--silent", "--noproxy", "*", "--max-time", str(ANSWER_TIMEOUT_S), "--tlsv1.3",
        "--cacert", str(certificates / "root.pem"), "--resolve", f"localhost:{port}:127.0.0.1", "--write-out", WRITTEN,
        *own, *more,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=2 * ANSWER_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"curl does not end within {2 * ANSWER_TIMEOUT_S} s") from error
    return parse(done.stdout)


def parse(output: str) -> list[Answer]:
    """Reads what `WRITTEN` makes curl print; status 0 is no answer."""
    words = [line.split() for line in output.splitlines() if line.strip()]
    found = [Answer(int(status), int(count), version) for status, count, version in words]
    return [answer for answer in found if answer.status]


def _url(port: int, length: int) -> list[str]:
    return ["--output", "/dev/null", f"https://localhost:{port}/bytes/{length}"]


def check(running: Running, origin: HttpOrigin, certificates: Path) -> HttpTruth:
    """Refuses strangers; answers, carries bodies and fields, and keeps connections, in both versions."""
    port, name = running.port, running.peer.name
    for stranger in ["", "stranger"]:
        answers = curl(port, certificates, stranger, *_url(port, SMALL_BYTES))
        if origin.requests or any(answer.status < 400 for answer in answers):
            who = "another authority's certificate" if stranger else "no certificate"
            raise Failure(f"{name} lets a request with {who} through: it must refuse it")
    truth = HttpTruth()
    for version in VERSIONS:
        try:
            _check_version(running, origin, certificates, version, truth)
        except Failure as failure:
            truth.why[version] = f"{version}: {failure}"
    truth.origin_connections = origin.connections
    return truth


def _check_version(running: Running, origin: HttpOrigin, certificates: Path, version: str, truth: HttpTruth) -> None:
    port, name, option = running.port, running.peer.name, VERSIONS[version]
    number = version.removeprefix("HTTP/")
    requests, connections = origin.requests, origin.connections
    urls = [word for _ in range(REQUESTS) for word in _url(port, SMALL_BYTES)]
    answers = curl(port, certificates, "client", option, "--header", "X-Check: kept", *urls)
    judge_answers(name, answers, [Answer(200, SMALL_BYTES, number)] * REQUESTS)
    if origin.requests - requests != REQUESTS:
        raise Failure(f"{name}: the origin saw {origin.requests - requests} requests of {REQUESTS}")
    opened = origin.connections - connections
    if opened > ORIGIN_CONNECTIONS_MAX:
        raise Failure(f"{name} opened {opened} connections to the origin for {REQUESTS} requests")
    expected = {"x-check": "kept", "host": f"localhost:{port}"}
    if lost := [key for key, value in expected.items() if origin.fields.get(key) != value]:
        raise Failure(f"{name} does not forward {', '.join(lost)} as the client sent it")
    truth.fields = sorted(origin.fields)
    for sent, received in [(0, BODY_BYTES), (BODY_BYTES, 0)]:
        before = origin.body_bytes
        body = certificates / f"body-{sent}"
        body.write_bytes(bytes(sent))
        upload = ["--data-binary", f"@{body}", "--header", "Expect:"] if sent else []
        answers = curl(port, certificates, "client", option, *upload, *_url(port, received))
        judge_answers(name, answers, [Answer(200, received, number)])
        if origin.body_bytes - before != sent:
            raise Failure(f"{name}: {origin.body_bytes - before} bytes of a body of {sent} came to the origin")


def judge_answers(name: str, answers: list[Answer], expected: list[Answer]) -> None:
    """Every answer has the status, the length and the version that it should have."""
    if len(answers) != len(expected):
        raise Failure(f"{name} answers {len(answers)} requests of {len(expected)}")
    for found, wanted in zip(answers, expected):
        if found != wanted:
            raise Failure(
                f"{name} answers with status {found.status}, {found.bytes} bytes, HTTP/{found.version}; expected "
                f"{wanted.status}, {wanted.bytes}, HTTP/{wanted.version}"
            )


def line(name: str, truth: HttpTruth) -> str:
    """One peer's verdict, for a person."""
    good = [version for version in VERSIONS if version not in truth.why]
    facts = [*truth.why.values(), *good, f"{truth.origin_connections} connections to the origin"]
    return f"{name:<20} {'; '.join(facts)}; sends {', '.join(truth.fields)}"
