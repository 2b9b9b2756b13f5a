"""A gRPC server on a free port, whose number it prints: bytes in, bytes out, no schema.

With CHAIN and KEY it speaks TLS, otherwise HTTP/2 with prior knowledge.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

cancelled = threading.Event()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    if request == b"metadata":
        context.send_initial_metadata((("x-initial", "1"),))
        context.set_trailing_metadata((("x-trailing", "2"), ("x-binary-bin", b"\x00\xff")))
        return metadata.get("x-asked", "").encode()
    if request == b"fields":
        return "\n".join(f"{name}: {value}" for name, value in metadata.items()).encode()
    if request.startswith(b"fail "):
        context.set_trailing_metadata((("x-why", "asked for"),))
        context.abort(grpc.StatusCode[request.split()[1].decode()], "as was asked: \u00fc%")
    if request == b"slow":
        # Longer than any deadline of the tests; ends with the call.
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)
        cancelled.set()
        return b"late"
    if request == b"was cancelled":
        return str(cancelled.wait(20)).encode()
    if request == b"deadline":
        remaining = context.time_remaining()
        return b"none" if remaining is None or remaining > 1e6 else b"%d" % remaining
    return request


def client_stream(requests, context):
    return b"".join(requests)


def server_stream(request, context):
    count, _, failing = request.partition(b" ")
    for number in range(int(count)):
        yield b"message %d" % number
    if failing:
        context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


def endless(request, context):
    # It ends in no other way, and nobody asks for more once it has.
    context.add_callback(cancelled.set)
    while True:
        yield b"more"
        time.sleep(0.01)


def both(requests, context):
    for request in requests:
        yield request[::-1]


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}
server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=40),
    options=[("grpc.max_receive_message_length", 8 << 20), ("grpc.so_reuseport", 0)],
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
if len(sys.argv) > 1:
    chain, key = (open(path, "rb").read() for path in sys.argv[1:3])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
