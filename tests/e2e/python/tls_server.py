"""Serves TLS with Python's own, one connection after the other, until its input ends.

tls_server.py CHAIN KEY ROOTS none|required PROTOCOL...

Prints its port, then handshakes and reads until the client ends.
"""

import socket
import ssl
import sys
import threading

chain, key, roots, verify, *protocols = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
if verify == "required":
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(roots)
if protocols:
    context.set_alpn_protocols(protocols)


def serve():
    while True:
        raw, _ = listener.accept()
        raw.settimeout(60)
        try:
            with context.wrap_socket(raw, server_side=True) as tls:
                while tls.recv(4096):
                    pass
                tls.unwrap()
        except OSError:
            # A client that is refused, or that is gone, is what the test is about.
            raw.close()


with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.read()
