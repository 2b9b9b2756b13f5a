"""HTTPS for tests: server.py CERT KEY CA [--stall SECONDS]. Prints its port.

A client certificate is required. The path says what happens: /STATUS answers with that status,
/chunked in chunks, /cut promises more than it sends, /both names two lengths, /early does not wait
for the body, anything else 200 with the request's body.
With --stall the first request of all is answered only after so many seconds.
"""

import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL = float(sys.argv[5]) if sys.argv[4:5] == ["--stall"] else 0.0
FIRST = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        if self.path == "/early":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"hello"
        if STALL and FIRST.acquire(blocking=False):
            time.sleep(STALL)
        if self.path == "/both":
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
            return
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
            return
        status = int(self.path[1:]) if self.path[1:].isdigit() else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (7 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/cut"

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_REQUIRED
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
