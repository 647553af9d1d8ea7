#!/usr/bin/env python3
"""A network that can be cut: passes Kafka's requests on to another address, and its answers back, until it is told otherwise.

    relay.py          prints the HOST:PORT at which it listens, and does what it reads on standard input, a line each:

    to HOST:PORT      where connections lead
    open              bytes pass, as at first
    hold              no byte passes, either way; when it is open again, what was held arrives, however late
    within            as `hold`, from when something to store has passed (a Produce request), and nothing that comes after it
    cut               connections are reset, and new ones at once
    mute              what is asked passes, answers do not; when it is open again, the connections are reset, and the answers are lost
    fence             each answer says of the cluster that it has no brokers and no leaders (fencing.py), and connections are reset each
                      second, so that it is asked for

Each line is answered by `ok`, `within` by `none` if nothing to store came in time. It ends with its standard input.
"""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys

import fencing

PRODUCE, METADATA = 0, 3  # keys of Kafka's API
WITHIN_SECONDS_MAX = 20
RESET_SECONDS = 1
ANSWER, NONE = "ok", "none"


class Network:
    """What passes now."""

    def __init__(self):
        self.target, self.state, self.connections = None, "open", set()
        self.asks, self.answers = asyncio.Event(), asyncio.Event()  # set while messages pass that way
        self.stored = None  # who waits for something to store
        self.become("open")

    def become(self, state):
        if state == "cut" or self.state == "mute":
            self.reset()
        self.state = state
        for way, passes in ((self.asks, state in ("open", "mute", "fence")), (self.answers, state in ("open", "fence"))):
            way.set() if passes else way.clear()

    def reset(self):
        for writer in list(self.connections):
            reset(writer)

    async def fence(self):
        self.become("fence")
        while self.state == "fence":
            self.reset()
            await asyncio.sleep(RESET_SECONDS)

    async def within(self):
        """Whether something to store came."""
        self.become("open")
        self.stored = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self.stored, WITHIN_SECONDS_MAX)
        except TimeoutError:
            return False
        finally:
            self.stored = None
        return True

    async def connected(self, reader, writer):
        if self.state == "cut" or not self.target:
            return reset(writer)
        self.connections.add(writer)
        onward = None
        try:
            await self.asks.wait()  # a network that is held leads nowhere
            there, onward = await asyncio.open_connection(*self.target)
            self.connections.add(onward)
            asked = {}
            ways = [asyncio.ensure_future(way) for way in (self.asking(reader, onward, asked), self.answering(there, writer, asked))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        except OSError:  # nobody is there
            reset(writer)
        finally:
            for one in filter(None, (writer, onward)):
                self.connections.discard(one)
                one.close()

    async def asking(self, reader, writer, asked):
        """Requests, each whole; what it is stays in `asked` until it is answered."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await message(reader)
                key, version, correlation = struct.unpack(">hhi", request[:8])
                asked[correlation] = key, version
                await self.asks.wait()
                await send(writer, request)
                if key == PRODUCE and self.stored and not self.stored.done():
                    self.become("hold")
                    self.stored.set_result(None)
        await self.asks.wait()

    async def answering(self, reader, writer, asked):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                answer = await message(reader)
                key, version = asked.pop(struct.unpack(">i", answer[:4])[0], (None, None))
                await self.answers.wait()
                await send(writer, fencing.fenced(answer, version) if key == METADATA and self.state == "fence" else answer)
        await self.answers.wait()


async def message(reader):
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


async def send(writer, body):
    writer.write(struct.pack(">i", len(body)) + body)
    await writer.drain()


def reset(writer):
    """The other end hears that the connection is gone, and not that it has ended."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main():
    network, tasks = Network(), set()
    server = await asyncio.start_server(network.connected, "127.0.0.1", 0)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).decode().split():
        answer = ANSWER
        match line:
            case ["to", address]:
                host, port = address.rsplit(":", 1)
                network.target = host, int(port)
            case ["open" | "hold" | "cut" | "mute" as state]:
                network.become(state)
            case ["within"]:
                answer = ANSWER if await network.within() else NONE
            case ["fence"]:
                tasks.add(asyncio.ensure_future(network.fence()))
            case _:
                raise SystemExit(f"relay: {line} means nothing")
        print(answer, flush=True)


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
        """Whether it did so."""
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if answer not in (ANSWER, NONE):
            raise OSError("the relay has ended")
        return answer == ANSWER


if __name__ == "__main__":
    # What still passes when this ends goes with it.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
