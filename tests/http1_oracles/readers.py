"""Reads conversations as Python's HTTP servers do.

Each line of the input is one connection, in hexadecimal digits. Each line of the output has its
requests: METHOD TARGET FIELDS BODY, the body in hexadecimal digits, a bar behind each. No sockets.
"""

import http.server
import io
import sys


def by_http_server(data):
    found = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self):
            self.rfile, self.wfile = io.BytesIO(data), io.BytesIO()
            self.client_address, self.server = ("memory", 0), None
            self.close_connection = True
            self.handle()

        def __getattr__(self, name):
            if name.startswith("do_"):
                return self.note
            raise AttributeError(name)

        def note(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.append((self.command, self.path, len(self.headers.keys()), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, text, *arguments):
            pass

    Handler()
    return found


def by_h11(data):
    import h11

    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    connection.receive_data(b"")
    found, body = [], b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            method, target = request.method.decode(), request.target.decode()
            found.append((method, target, len(request.headers), body))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return found
            connection.start_next_cycle()
        else:
            return found + [("ENDED", type(event).__name__, 0, b"")]


READERS = {"http.server": by_http_server, "h11": by_h11}


def main():
    read = READERS[sys.argv[1]]
    for line in sys.stdin:
        found = read(bytes.fromhex(line))
        print("".join(f"{it[0]} {it[1]} {it[2]} {it[3].hex()}|" for it in found))


main()
