"""A TCP relay between one node and one bus: it can delay, cut without a word, and heal.

A cut direction carries nothing: neither bytes nor the end of a connection; what was on its way waits, as TCP would
repeat it. New connections need both directions: their SYN goes unanswered, because the queue of the listening
socket is kept full. Two threads of control: the test's, and an asyncio loop that moves bytes.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Literal

from xcluster.bus.zeromq import endpoints

Direction = Literal["to_bus", "to_node"]
DIRECTIONS: tuple[Direction, Direction] = ("to_bus", "to_node")
CHANNELS = ("tasks", "publish", "subscribe")
BACKLOG = 1
ACCEPT_S = 0.005  # between looks for new connections
PIECES = 1024  # read ahead of a cut or a delay, in each direction of a connection

_Reads = asyncio.StreamReader
_Writes = asyncio.StreamWriter


def three_ports() -> int:
    """The first of three free ports in a row: what a bus takes. Below the kernel's ephemeral ones."""
    while True:
        first = random.randrange(10_000, 32_000)
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + len(CHANNELS)):
                    taken = held.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


def bus_address() -> str:
    """An address on loopback for a bus."""
    return f"tcp://127.0.0.1:{three_ports()}"


class Relay:
    """Listens at `address` for one node, connects to the bus at `bus`."""

    def __init__(self, bus: str) -> None:
        self.address = bus_address()
        self._delays: dict[tuple[str, Direction], float] = {}
        self._loop = asyncio.new_event_loop()
        self._open = {direction: asyncio.Event() for direction in DIRECTIONS}
        for gate in self._open.values():
            gate.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: dict[socket.socket, asyncio.Event] = {}  # and whether they are accepting
        self._plugs: list[socket.socket] = []  # what fills their queues
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        pairs = zip(CHANNELS, endpoints(self.address), endpoints(bus), strict=True)
        for channel, here, there in pairs:
            self._wait(self._listen(channel, _port(here), _port(there)))

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    # what tests do

    def delay(self, channel: str, direction: Direction, seconds: float) -> None:
        """From now on bytes take so much longer; what is on its way stays in order."""
        self._delays[channel, direction] = seconds

    def cut(self, *directions: Direction) -> None:
        """Carry nothing any more, in both directions or the given ones; nobody is told."""
        self._wait(self._set(directions or DIRECTIONS, False))

    def heal(self) -> None:
        self._wait(self._set(DIRECTIONS, True))

    def stop(self) -> None:
        """Drop everything and end."""
        with contextlib.suppress(asyncio.CancelledError):
            self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    async def _set(self, directions: tuple[Direction, ...], is_open: bool) -> None:
        for direction in directions:
            gate = self._open[direction]
            gate.set() if is_open else gate.clear()
        if not is_open and not self._plugs:
            self._plug()
        elif is_open:
            for plug in self._plugs:
                plug.close()
            self._plugs.clear()
            for accepting in self._listeners.values():
                accepting.set()

    def _plug(self) -> None:
        for listener, accepting in self._listeners.items():
            accepting.clear()
            for _ in range(BACKLOG + 3):
                plug = socket.socket()
                plug.setblocking(False)
                plug.connect_ex(listener.getsockname())
                self._plugs.append(plug)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in (*self._listeners, *self._plugs):
            one.close()

    # connections

    async def _listen(self, channel: str, here: int, there: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", here))
        listener.listen(BACKLOG)
        self._listeners[listener] = asyncio.Event()
        self._listeners[listener].set()
        self._run(self._accept(channel, there, listener))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, channel: str, there: int, listener: socket.socket) -> None:
        while True:
            await self._listeners[listener].wait()
            with contextlib.suppress(BlockingIOError):
                accepted, _ = listener.accept()
                self._run(self._serve(channel, there, accepted))
                continue
            await asyncio.sleep(ACCEPT_S)

    async def _serve(self, channel: str, there: int, accepted: socket.socket) -> None:
        reads, writes = await asyncio.open_connection(sock=accepted)
        try:
            await self._carry(channel, there, reads, writes)
        except OSError:
            pass  # the bus is not there
        finally:
            writes.transport.abort()

    async def _carry(self, channel: str, there: int, reads: _Reads, writes: _Writes) -> None:
        bus_reads, bus_writes = await asyncio.open_connection("127.0.0.1", there)
        try:
            ways: tuple[tuple[Direction, _Reads, _Writes], ...] = (
                ("to_bus", reads, bus_writes),
                ("to_node", bus_reads, writes),
            )
            carrying = [self._loop.create_task(self._move(channel, *way)) for way in ways]
            try:
                await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in carrying:
                    task.cancel()
                await asyncio.gather(*carrying, return_exceptions=True)
        finally:
            bus_writes.transport.abort()

    async def _move(self, channel: str, direction: Direction, reads: _Reads, writes: _Writes) -> None:
        """Move bytes one way, each piece when it is due, until the end has come through."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES)
        reading = self._loop.create_task(self._read(channel, direction, reads, pieces))
        try:
            while True:
                due, data = await pieces.get()
                if (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                await self._open[direction].wait()
                if not data:
                    return
                writes.write(data)
                await writes.drain()
        finally:
            reading.cancel()

    async def _read(
        self, channel: str, direction: Direction, reads: _Reads, pieces: "asyncio.Queue[tuple[float, bytes]]"
    ) -> None:
        while True:
            try:
                data = await reads.read(65_536)
            except OSError:
                data = b""
            due = self._loop.time() + self._delays.get((channel, direction), 0.0)
            await pieces.put((due, data))
            if not data:
                return


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
