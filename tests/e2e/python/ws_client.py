"""WebSocket clients of a gateway: ADDRESS PORT NAME ROOTS CHAIN KEY, then what to do."""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

address, port, name, roots, chain, key, what = sys.argv[1:8]
context = ssl.create_default_context(cafile=roots)
context.load_cert_chain(chain, key)
context.set_alpn_protocols(["http/1.1"])


def websocket(path="/", **more):
    return connect(
        f"wss://{name}:{port}{path}",
        host=address,
        port=int(port),
        ssl=context,
        server_hostname=name,
        proxy=None,
        max_size=4 << 20,
        **more,
    )


async def talk():
    async with websocket("/chat?room=1", subprotocols=["chat.v1"]) as connection:
        for message in ["hello", "", os.urandom(30_000), "\u00fc" * 10_000]:
            await connection.send(message)
            assert await connection.recv() == message
        await connection.send("path")
        assert await connection.recv() == "/chat?room=1"
        await connection.send("subprotocol")
        assert await connection.recv() == "chat.v1"
        await asyncio.wait_for(await connection.ping(b"from the client"), 20)
        await connection.send("ping me")
        assert await connection.recv() == "ponged"


async def large():
    async with websocket() as connection:
        for _ in range(4):
            message = os.urandom(1 << 20)
            await connection.send(message)
            assert await connection.recv() == message
        # In fragments, which are one message.
        await connection.send([b"a" * 100_000, b"b" * 100_000])
        assert await connection.recv() == b"a" * 100_000 + b"b" * 100_000


async def close():
    for code, reason in [(1000, "done"), (1001, "going"), (3000, "ours"), (4999, "")]:
        connection = await websocket()
        await connection.send(f"close {code} {reason}")
        try:
            await connection.recv()
            raise AssertionError("it was not closed")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (code, reason), closed
        connection = await websocket()
        await connection.close(code, reason)
        assert connection.close_code == code, connection.close_code


async def many():
    async def one(number):
        async with websocket(f"/{number}") as connection:
            for step in range(20):
                message = f"{number}-{step}"
                await connection.send(message)
                assert await connection.recv() == message

    await asyncio.gather(*(one(number) for number in range(50)))


async def linger():
    """Stays connected and silent; ends when the peer does, and says how."""
    connection = await websocket(ping_interval=None)
    await connection.send("here")
    print(await connection.recv(), flush=True)
    try:
        await connection.recv()
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code if closed.rcvd else None)


async def refused():
    try:
        await websocket()
        raise AssertionError("it was let in")
    except InvalidStatus as error:
        print(error.response.status_code)


asyncio.run({f.__name__: f for f in (talk, large, close, many, linger, refused)}[what]())
