"""A WebSocket server on a free port, whose number it prints: echoes, and does as it is told."""

import asyncio

from websockets.asyncio.server import serve

MESSAGE_BYTES_MAX = 4 << 20


async def handle(connection):
    async for message in connection:
        if message == "path":
            await connection.send(connection.request.path)
        elif message == "subprotocol":
            await connection.send(str(connection.subprotocol))
        elif isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await connection.close(int(code), reason)
        elif message == "ping me":
            await (await connection.ping(b"from the server"))
            await connection.send("ponged")
        else:
            await connection.send(message)


async def main():
    async with serve(
        handle,
        "127.0.0.1",
        0,
        max_size=MESSAGE_BYTES_MAX,
        select_subprotocol=lambda _, offered: "chat.v1" if "chat.v1" in offered else None,
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
