"""Floods a TLS port with the same bytes on new connections, from many sources of the loopback.

Costs the flooder no cryptography: what one machine can throw at a gateway at the least cost. Prints
how many connections it made.
"""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
import ssl
import struct
import sys
import time

OUTSTANDING = 256
# IP_BIND_ADDRESS_NO_PORT of linux/in.h, which Python has no name for.
IP_BIND_ADDRESS_NO_PORT = 24
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def hello() -> bytes:
    """The ClientHello of this machine's OpenSSL, with one fresh key for all."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def connecting(port: int, source: str) -> socket.socket | None:
    """A socket that connects, or none where the kernel has no port or no room left."""
    each = socket.socket()
    each.setblocking(False)
    each.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    each.bind((source, 0))
    if each.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
        each.close()
        return None
    return each


def flood(port: int, payload: bytes, sources: int, duration_s: float) -> int:
    """Keeps so many connections open, each until the server's first answer or its end."""
    addresses = itertools.cycle(f"127.1.{each // 250}.{1 + each % 250}" for each in range(sources))
    selector = selectors.DefaultSelector()
    made = 0
    deadline = time.monotonic() + duration_s
    while time.monotonic() < deadline:
        while len(selector.get_map()) < OUTSTANDING:
            each = connecting(port, next(addresses))
            if each is None:
                break
            selector.register(each, selectors.EVENT_WRITE)
        for key, events in selector.select(0.05):
            each = key.fileobj
            assert isinstance(each, socket.socket)
            try:
                if events & selectors.EVENT_WRITE:
                    each.send(payload)
                    made += 1
                    selector.modify(each, selectors.EVENT_READ)
                    continue
            except OSError:
                pass
            # Whatever it says: the next one.
            selector.unregister(each)
            each.close()
    return made


def main(words: list[str]) -> int:
    kind, port, sources, duration_s = words
    payload = hello() if kind == "replay" else bytes(range(256)) * 2
    print(flood(int(port), payload, int(sources), float(duration_s)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
