"""Sends lines through a gateway with Python's own TLS and prints what comes back.

echo.py HOST PORT NAME ROOTS CHAIN KEY LINE...
"""

import socket
import ssl
import sys

host, port, name, roots, chain, key, *lines = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
context.load_cert_chain(chain, key)
with socket.create_connection((host, int(port)), timeout=60) as raw:
    with context.wrap_socket(raw, server_hostname=name) as tls:
        print(tls.version())
        for line in lines:
            tls.sendall(line.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = tls.recv(4096)
                if not piece:
                    sys.exit("the connection ended early")
                answer += piece
            print(answer.decode(), end="")
        # Sends close_notify and waits for the other side's.
        tls.unwrap()
