"""What clients of HTTP/2 do not do by themselves: ADDRESS PORT NAME ROOTS CHAIN KEY, then what.

`malformed`: each request (RFC 9113, 8.2 and 8.3) must be answered with 400 or reset, and the
connection go on, or end with GOAWAY. `early`: the answer to a body that is too large comes before
the body, and the connection goes on.
"""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

address, port, name, roots, chain, key, what = sys.argv[1:8]

GOOD = [(":method", "GET"), (":scheme", "https"), (":authority", name), (":path", "/good")]


def without(field):
    return [pair for pair in GOOD if pair[0] != field]


MALFORMED = {
    "Connection": GOOD + [("connection", "close")],
    "Transfer-Encoding": GOOD + [("transfer-encoding", "chunked")],
    "Keep-Alive": GOOD + [("keep-alive", "timeout=5")],
    "Upgrade": GOOD + [("upgrade", "websocket")],
    "Proxy-Connection": GOOD + [("proxy-connection", "keep-alive")],
    "TE other than trailers": GOOD + [("te", "gzip")],
    "upper case": GOOD + [("X-Upper", "1")],
    "no path": without(":path"),
    "empty path": without(":path") + [(":path", "")],
    "no method": without(":method"),
    "no scheme": without(":scheme"),
    "path without slash": without(":path") + [(":path", "bad")],
    "space in path": without(":path") + [(":path", "/bad HTTP/1.1")],
    "line end in path": without(":path") + [(":path", "/bad\r\nX-A: b")],
    "two paths": GOOD + [(":path", "/bad")],
    "pseudo behind": GOOD + [("x-a", "1"), (":path", "/bad")],
    "unknown pseudo": GOOD + [(":bad", "1")],
    "authority against host": GOOD + [("host", "other.test")],
    "user information": without(":authority") + [(":authority", "a@" + name)],
    "two lengths": GOOD + [("content-length", "0"), ("content-length", "1")],
    "a length without a body": GOOD + [("content-length", "5")],
    "a bad length": GOOD + [("content-length", "+0")],
    "line end in a value": GOOD + [("x-a", "b\r\nx-smuggled: 1")],
    "NUL in a value": GOOD + [("x-a", "b\0c")],
    "space in a name": GOOD + [("x a", "b")],
    "colon in a name": GOOD + [("x:a", "b")],
    "line end in a name": GOOD + [("x\r\na", "b")],
    "line end in the method": without(":method") + [(":method", "GET /bad HTTP/1.1\r\nX: y")],
    "CONNECT": [(":method", "CONNECT"), (":authority", name + ":443")],
}


class Connection:
    def __init__(self):
        context = ssl.create_default_context(cafile=roots)
        context.load_cert_chain(chain, key)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((address, int(port)), timeout=20)
        self.socket = context.wrap_socket(plain, server_hostname=name)
        # It must send what it is told to.
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.h2.initiate_connection()

    def ask(self, fields, end_stream=True):
        """The status, "reset" or "over"."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end_stream)
        self.socket.sendall(self.h2.data_to_send())
        status = None
        while True:
            data = self.socket.recv(65536)
            if not data:
                return status or "over"
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"].decode()
                elif isinstance(event, h2.events.StreamEnded):
                    return status
                elif isinstance(event, h2.events.StreamReset):
                    return status or "reset"
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return status or "over"
            self.socket.sendall(self.h2.data_to_send())


def malformed():
    connection = Connection()
    assert connection.ask(GOOD) == "200"
    for case, fields in MALFORMED.items():
        found = connection.ask(fields)
        print(case, found)
        assert found in ("400", "405", "501", "reset", "over"), (case, found)
        if found == "over":
            connection = Connection()
        assert connection.ask(GOOD) == "200", case
    # The h2 crate leaves a fragment out (RFC 9113, 8.3.1: there is none), so that nobody sees it.
    assert connection.ask(without(":path") + [(":path", "/good#x")]) == "200"


def early():
    connection = Connection()
    large = [(":method", "POST"), *GOOD[1:3], (":path", "/413"), ("content-length", "11")]
    for _ in range(5):
        assert connection.ask(large, end_stream=False) == "413"
        assert connection.ask(GOOD) == "200"


{task.__name__: task for task in (malformed, early)}[what]()
