#!/usr/bin/env python3
"""A network that can be cut: passes TCP connections on to another address, until it is told otherwise.

    relay.py          prints the HOST:PORT at which it listens, and does what it reads on standard input, a line each:

    to HOST:PORT      where connections lead
    open              bytes pass, as at first
    hold              no byte passes, either way; when it is open again, what was held arrives, however late
    cut               connections are reset, and new ones at once
    mute              what is asked passes, answers do not; when it is open again, the connections are reset, and the answers are lost
    fence             connections are reset once; then each answer says of Kafka's cluster that it has no brokers and no leaders, as a
                      node does while its controller has fenced it, which a node alone in its cluster does to itself when it was slow

Each line is answered by `ok`. It ends with its standard input.
"""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys

import fencing

CHUNK_BYTES = 64 << 10
ANSWER = "ok"


class Network:
    """What passes now."""

    def __init__(self):
        self.target, self.state, self.connections = None, "open", set()
        self.asks, self.answers = asyncio.Event(), asyncio.Event()  # set while bytes pass that way
        self.become("open")

    def become(self, state):
        if state in ("cut", "fence") or self.state == "mute":
            for writer in list(self.connections):
                reset(writer)
        self.state = state
        for way, passes in ((self.asks, state in ("open", "mute", "fence")), (self.answers, state in ("open", "fence"))):
            way.set() if passes else way.clear()

    async def connected(self, reader, writer):
        if self.state == "cut" or not self.target:
            return reset(writer)
        self.connections.add(writer)
        onward = None
        try:
            await self.asks.wait()  # a network that is held leads nowhere
            there, onward = await asyncio.open_connection(*self.target)
            self.connections.add(onward)
            ways = [asyncio.ensure_future(way) for way in self.ways((reader, writer), (there, onward))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        except OSError:  # nobody is there
            reset(writer)
        finally:
            for one in filter(None, (writer, onward)):
                self.connections.discard(one)
                one.close()

    def ways(self, client, node):
        """Both ways of a connection, until one of them ends."""
        if self.state != "fence":
            return passing(client[0], node[1], self.asks), passing(node[0], client[1], self.answers)
        asked = {}
        return (
            fencing.asking(client[0], node[1], asked),
            fencing.answering(node[0], client[1], asked, lambda: self.state == "fence"),
        )


async def passing(reader, writer, way):
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            await way.wait()
            writer.write(data)
            await writer.drain()
        await way.wait()


def reset(writer):
    """The other end hears that the connection is gone, and not that it has ended."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main():
    network = Network()
    server = await asyncio.start_server(network.connected, "127.0.0.1", 0)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).decode().split():
        match line:
            case ["to", address]:
                host, port = address.rsplit(":", 1)
                network.target = host, int(port)
            case ["open" | "hold" | "cut" | "mute" | "fence" as state]:
                network.become(state)
            case _:
                raise SystemExit(f"relay: {line} means nothing")
        print(ANSWER, flush=True)


class Relay:
    """A relay in a process of its own, as the one who controls it sees it; it ends with the block."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.address = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        if self.process.stdout.readline().strip() != ANSWER:
            raise OSError("the relay has ended")


if __name__ == "__main__":
    # What still passes when this ends goes with it.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
