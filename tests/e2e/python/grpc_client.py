"""gRPC clients of a gateway: ADDRESS PORT NAME ROOTS CHAIN KEY, then what to do."""

import sys
import threading

import grpc

address, port, name, roots, chain, key, what = sys.argv[1:8]
roots, chain, key = (open(path, "rb").read() for path in (roots, chain, key))
channel = grpc.secure_channel(
    f"{address}:{port}",
    grpc.ssl_channel_credentials(roots, key, chain),
    options=[
        ("grpc.ssl_target_name_override", name),
        ("grpc.default_authority", name),
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", 8 << 20),
    ],
)
unary = channel.unary_unary("/test.Echo/Unary")
client_stream = channel.stream_unary("/test.Echo/ClientStream")
server_stream = channel.unary_stream("/test.Echo/ServerStream")
endless = channel.unary_stream("/test.Echo/Endless")
both = channel.stream_stream("/test.Echo/Both")
PATIENCE_S = 30


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def calls():
    for request in [b"", b"hello", b"x" * 3_000_000]:
        assert unary(request, timeout=PATIENCE_S) == request
    for number in range(200):
        assert unary(b"%d" % number, timeout=PATIENCE_S) == b"%d" % number
    futures = [unary.future(b"%d" % number, timeout=PATIENCE_S) for number in range(100)]
    assert [future.result() for future in futures] == [b"%d" % number for number in range(100)]


def metadata():
    asked = (("x-asked", "yes"),)
    response, call = unary.with_call(b"metadata", metadata=asked, timeout=PATIENCE_S)
    assert response == b"yes"
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert initial["x-initial"] == "1", initial
    assert (trailing["x-trailing"], trailing["x-binary-bin"]) == ("2", b"\x00\xff"), trailing
    forged = (("x-forwarded-client-cert", "forged"), ("client-cert", "forged"))
    fields = unary(b"fields", metadata=forged, timeout=PATIENCE_S).decode()
    assert "forged" not in fields, fields
    print(fields)


def errors():
    for code in ["NOT_FOUND", "PERMISSION_DENIED", "INTERNAL", "RESOURCE_EXHAUSTED"]:
        error = code_of(lambda: unary(b"fail " + code.encode(), timeout=PATIENCE_S))
        assert error.code().name == code, error
        assert error.details() == "as was asked: \u00fc%", error.details()
        assert dict(error.trailing_metadata())["x-why"] == "asked for", error.trailing_metadata()
    # Behind messages of a stream.
    seen = []
    error = code_of(lambda: seen.extend(server_stream(b"3 fail", timeout=PATIENCE_S)))
    assert (error.code(), len(seen)) == (grpc.StatusCode.DATA_LOSS, 3), (error, seen)
    error = code_of(lambda: channel.unary_unary("/test.Echo/None")(b"", timeout=PATIENCE_S))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def streams():
    pieces = [b"piece %d, " % number * 100 for number in range(500)]
    assert client_stream(iter(pieces), timeout=PATIENCE_S) == b"".join(pieces)
    seen = list(server_stream(b"1000", timeout=PATIENCE_S))
    assert seen == [b"message %d" % number for number in range(1000)]
    assert list(server_stream(b"0", timeout=PATIENCE_S)) == []
    # Each answer before the next question: nothing may wait for more.
    asked = threading.Semaphore(1)

    def questions():
        for number in range(100):
            assert asked.acquire(timeout=PATIENCE_S)
            yield b"question %d" % number

    for number, answer in enumerate(both(questions(), timeout=PATIENCE_S)):
        assert answer == (b"question %d" % number)[::-1], answer
        asked.release()
    assert number == 99, number


def deadlines():
    assert unary(b"deadline") == b"none"
    assert 15 <= int(unary(b"deadline", timeout=20)) <= 20
    error = code_of(lambda: unary(b"slow", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert unary(b"was cancelled", timeout=PATIENCE_S) == b"True"


def cancel():
    stream = endless(b"", timeout=PATIENCE_S)
    for _ in range(5):
        assert next(stream) == b"more"
    stream.cancel()
    assert code_of(lambda: list(stream)).code() == grpc.StatusCode.CANCELLED
    assert unary(b"was cancelled", timeout=PATIENCE_S) == b"True"


def endure():
    """Takes messages until the call ends by itself, and says how."""

    def take():
        for number, _ in enumerate(endless(b"", timeout=PATIENCE_S)):
            if number == 0:
                print("begun", flush=True)

    print(code_of(take).code().name)


def was_cancelled():
    assert unary(b"was cancelled", timeout=PATIENCE_S) == b"True"


def code():
    print(code_of(lambda: unary(b"hello", timeout=PATIENCE_S)).code().name)


tasks = (calls, metadata, errors, streams, deadlines, cancel, endure, was_cancelled, code)
{task.__name__: task for task in tasks}[what]()
channel.close()
