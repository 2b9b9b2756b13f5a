"""Child processes: every one is in a group of its own and is ended, whatever happens.

Knows nothing of peers or measurements.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

END_TIMEOUT_S = 5.0
START_TIMEOUT_S = 20.0


class Failure(Exception):
    """What a person has to know, in one line: what was found, what was expected, what to do."""


class Processes:
    """The processes that were started, ended in reverse order on the way out of a `with` block."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: list[str], log: Path, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts `command` with its output in `log`."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: a Ctrl-C reaches this program, which ends the group.
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM) -> None:
        """Ends a process and all of its group."""
        end_group(process, first)
        if process in self._running:
            self._running.remove(process)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave any behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in reversed(self._running.copy()):
            self.end(process)


def end_group(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    """The first signal to the group, then SIGKILL to what is left of it."""
    signal_group(process, first)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    # Also where the leader has ended: a worker may have outlived it.
    signal_group(process, signal.SIGKILL)
    process.wait()


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """The leader's pid is the group's number, and stays taken while any member lives."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_listening(port: int, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    """Returns once `port` accepts connections."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"{name} ended with status {process.returncode} at its start: {tail(log)}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failure(f"{name} does not listen on port {port} after {START_TIMEOUT_S:.0f} s: {tail(log)}")


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return " | ".join(lines[-4:]) or f"it wrote nothing to {log}"


def descendants(pid: int) -> list[int]:
    """A process and all of its children, theirs included."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children."""
    resident = 0
    for each in descendants(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                resident += int(line.split()[1]) * 1024
    return resident


def open_sockets(pid: int) -> int:
    """Sockets that a process and its children hold open; one shared by two counts twice."""
    count = 0
    for each in descendants(pid):
        for descriptor in Path(f"/proc/{each}/fd").iterdir():
            try:
                count += os.readlink(descriptor).startswith("socket:")
            except FileNotFoundError:
                pass
    return count
