"""A client that comes back with its session, for each line of standard input.

Usage: resume.py HOST NAME ROOTS CHAIN KEY VERSION

Each line is `PORT` or `PORT keep`: connect there with the newest session; `keep` offers the same
session again the next time, too. Prints `resumed`, `full`, or `refused` and the reason.
"""

import socket
import ssl
import sys

host, name, roots, chain, key, version = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(roots)
context.load_cert_chain(chain, key)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]


def visit(port, session):
    with socket.create_connection((host, port), timeout=40) as raw:
        with context.wrap_socket(raw, server_hostname=name, session=session) as tls:
            tls.sendall(b"hello")
            answer = b""
            # Tickets of TLS 1.3 come before it.
            while len(answer) < 5:
                piece = tls.recv(5 - len(answer))
                if not piece:
                    raise ssl.SSLError("closed without an answer")
                answer += piece
            assert answer == b"hello"
            reused, session = tls.session_reused, tls.session
            tls.unwrap()
            return reused, session


session = None
for line in sys.stdin:
    port, *keep = line.split()
    try:
        reused, newest = visit(int(port), session)
        print("resumed" if reused else "full", flush=True)
        session = session if keep else newest
    except (ssl.SSLError, ConnectionError) as error:
        print("refused", error, flush=True)
