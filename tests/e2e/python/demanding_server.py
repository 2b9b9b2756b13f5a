"""A TLS 1.3 server that demands a certificate: CHAIN KEY ROOTS. Prints its port."""

import socket
import ssl
import sys
import threading
import time

chain, key, roots = sys.argv[1:4]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=roots)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(chain, key)
context.set_alpn_protocols(["h2", "http/1.1"])


def serve(raw):
    connection = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
    try:
        connection.do_handshake()
    except ssl.SSLError:
        # The alert is out. The request behind it is unread: to close at once would be a reset,
        # which may overtake it.
        time.sleep(2)
    connection.close()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
