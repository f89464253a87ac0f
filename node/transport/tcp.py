"""(I/O) One client connection on readiness watchers, plain or with TLS.

A watcher for reading always, one for writing only while the kernel's buffer is full or TLS wants it. Reading
can be paused: for a client over its rate, or one whose stanzas wait for something.
"""

import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from xcluster.node.clock import Turns
from xcluster.node.transport.outbox import Outbox

READ_BYTES = 65_536
CLOSE_S = 2.0  # how long a connection that we close may take to send the rest, and the peer to close too
DISCARDED_READS = 32  # of what still comes meanwhile
TLS_READS = 16  # of one turn: a client that sends without end must not stop the others
_READ, _WRITE = 1, 2


class Owner(Protocol):
    """Who is told what happens on a connection. Called from the loop."""

    def received(self, data: bytes) -> None:
        """Bytes have come."""

    def secured(self) -> None:
        """The TLS handshake is done."""

    def closed(self, reason: str) -> None:
        """The connection is gone; nothing more can be sent. Called once."""


class Connection:
    """A non-blocking socket in the loop."""

    __slots__ = (
        "_discarded",
        "_handshaking",
        "_is_dirty",
        "_is_finished",
        "_is_waiting",
        "_loop",
        "_out",
        "_outbox",
        "_paused",
        "_reader",
        "_rest",
        "_writer",
        "address",
        "closing",
        "has_lost",
        "heard_at",
        "is_closed",
        "limit",
        "owner",
        "queued",
        "read_bytes",
        "sock",
        "turns",
    )

    def __init__(
        self, sock: socket.socket, address: str, turns: Turns, outbox: Outbox, loop: Any, limit: int
    ) -> None:
        self.sock: socket.socket | ssl.SSLSocket = sock
        self.address = address
        self.turns = turns
        self.owner: Owner | None = None
        self.heard_at = turns.now
        self.is_closed = False
        self.closing = ""  # why it closes once everything is written
        self.limit = limit  # bytes that may wait to be written
        self.queued = 0
        self.has_lost = False  # bytes that were queued when it ended
        self.read_bytes = READ_BYTES  # taken at once; the owner may want less
        self._is_finished = False  # we have said good-bye
        self._discarded = 0  # reads since then
        self._loop = loop
        self._outbox = outbox
        self._out: list[bytes] = []
        self._rest: bytes | memoryview | None = None  # what the kernel has not taken yet
        self._is_dirty = False  # flushed when the turn ends
        self._is_waiting = False  # flushed within a moment
        self._paused = False
        self._handshaking = False
        self._reader = loop.io(sock.fileno(), _READ)
        self._writer: Any = None

    def start(self, owner: Owner) -> None:
        self.owner = owner
        self._reader.start(self._readable)

    @property
    def is_tls(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket)

    # reading

    def _readable(self) -> None:
        if self._handshaking:
            self._shake_hands()
            return
        try:
            data = self.sock.recv(self.read_bytes)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return
        except ssl.SSLWantWriteError:
            self._want_write()
            return
        except OSError as error:
            self.abort(_name(error))
            return
        if not data:
            self.abort("closed by peer")
            return
        self.heard_at = self.turns.now
        assert self.owner is not None
        self.owner.received(data)
        if isinstance(self.sock, ssl.SSLSocket) and not self.is_closed and not self._paused:
            self._read_decrypted()

    def _read_decrypted(self) -> None:
        """What TLS has decrypted already does not make the descriptor readable."""
        for _ in range(TLS_READS):
            if self.is_closed or self.closing or self._paused or not isinstance(self.sock, ssl.SSLSocket):
                return
            if not self.sock.pending():
                return
            try:
                data = self.sock.recv(self.read_bytes)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self.abort(_name(error))
                return
            if not data:
                self.abort("closed by peer")
                return
            assert self.owner is not None
            self.owner.received(data)
        self.turns.soon(self._read_decrypted)

    def pause(self) -> None:
        """Stop reading: the client is told by TCP."""
        if not self._paused and not self.is_closed and not self.closing:
            self._paused = True
            self._reader.stop()

    def resume(self) -> None:
        if self._paused and not self.is_closed and not self.closing:
            self._paused = False
            self._reader.start(self._readable)
            if isinstance(self.sock, ssl.SSLSocket):
                self.turns.soon(self._read_decrypted)

    # writing

    def write(self, data: bytes) -> None:
        """Send at the end of the turn. A client that lets more than `limit` bytes wait is cut."""
        if self.closing or self.is_closed:
            return
        self._out.append(data)
        self.queued += len(data)
        if self.queued > self.limit:
            self._relieve()
        if not self._is_dirty:
            self._is_dirty = True
            self._outbox.add(self)

    def write_later(self, data: bytes) -> None:
        """Send with the next `write`, or after the outbox's delay: nobody waits for it."""
        # As in `write`, without a call: this happens for every stanza.
        if self.closing or self.is_closed:
            return
        self._out.append(data)
        self.queued += len(data)
        if self.queued > self.limit:
            self._relieve()
        if not (self._is_dirty or self._is_waiting):
            self._is_waiting = True
            self._outbox.add_later(self)

    def _relieve(self) -> None:
        """One turn may have more for a client than `limit`: what the kernel takes of it does not count."""
        if not self._handshaking and (self._writer is None or not self._writer.active):
            self._send(self._give_up)
        if self.queued > self.limit:
            self._give_up("does not read")

    def _give_up(self, reason: str) -> None:
        """Abort, but not now: whoever writes may be half-way through a change that the end would touch."""
        self.closing = reason
        self._is_finished = True  # without a good-bye
        self._forget()
        self._reader.stop()
        self.turns.soon(self.abort, reason)

    def _forget(self) -> None:
        """What is queued will not be written."""
        self.has_lost = self.has_lost or self.queued > 0
        self._out.clear()
        self._rest = None
        self.queued = 0

    def flush(self) -> None:
        """Write what is collected; the rest when the kernel takes it."""
        self._is_dirty = False
        if self.is_closed or self._handshaking or (self._writer is not None and self._writer.active):
            return
        self._send(self.abort)

    def flush_waiting(self) -> None:
        """Write what has waited for company and found none."""
        self._is_waiting = False
        self.flush()

    def _send(self, fail: Callable[[str], None]) -> None:
        while self._out or self._rest is not None:
            if self._rest is None:
                self._rest = self._out[0] if len(self._out) == 1 else b"".join(self._out)
                self._out.clear()
            try:
                sent = self.sock.send(self._rest)
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                self._want_write()
                return
            except ssl.SSLWantReadError:
                return
            except OSError as error:
                fail(_name(error))
                return
            self.queued -= sent
            self._rest = memoryview(self._rest)[sent:] if sent < len(self._rest) else None
        if self._writer is not None:
            self._writer.stop()
        if self.closing:
            self._finish()

    def _want_write(self) -> None:
        if self._writer is None:
            self._writer = self._loop.io(self.sock.fileno(), _WRITE)
        if not self._writer.active:
            self._writer.start(self._writable)

    def _writable(self) -> None:
        self._writer.stop()
        if self._handshaking:
            self._shake_hands()
        else:
            self._send(self.abort)

    # TLS

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Become the server side of a TLS connection; what was written before has to go out first."""
        self.flush()
        if self.is_closed:
            return
        if self.queued:  # a peer that does not read a few bytes will not shake hands
            self.abort("does not read")
            return
        try:
            self.sock = context.wrap_socket(
                self.sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
        except OSError as error:
            self.abort(_name(error))
            return
        self._handshaking = True
        self.turns.soon(self._shake_hands)

    def _shake_hands(self) -> None:
        if self.is_closed or not self._handshaking:
            return
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._want_write()
            return
        except (OSError, ValueError) as error:
            self.abort(f"TLS handshake: {_name(error)}")
            return
        self._handshaking = False
        assert self.owner is not None
        self.owner.secured()
        self.turns.soon(self._read_decrypted)
        self.flush()

    # the end

    def close(self, reason: str, is_mutual: bool = False) -> None:
        """Write what is collected, then close; unless the peer has said good-bye itself (`is_mutual`), once it
        closes too: bytes that nobody reads would have the kernel reset what we have just written."""
        if self.is_closed or self.closing:
            return
        self.closing = reason
        self._reader.stop()
        if is_mutual:
            self._discarded = DISCARDED_READS
        self.flush()
        if not self.is_closed:
            self.turns.after(CLOSE_S, lambda: self.abort(reason))

    def _finish(self) -> None:
        """Everything is written."""
        if self._is_finished:
            return
        self._is_finished = True
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                with suppress(ssl.SSLWantReadError):
                    self.sock.unwrap()  # sends close_notify; the peer's we don't wait for
            is_awaited = self._discarded < DISCARDED_READS  # else the peer has said good-bye too
            if is_awaited:
                self.sock.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            is_awaited = False
        if not is_awaited:
            self.abort(self.closing)
            return
        self._reader.start(self._discard)
        self._discard()

    def _discard(self) -> None:
        """Read and forget what the peer sent before it heard that we close."""
        try:
            while self._discarded < DISCARDED_READS:
                self._discarded += 1
                if not self.sock.recv(READ_BYTES):
                    break
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            pass  # reset: as good an end
        self.abort(self.closing)

    def abort(self, reason: str) -> None:
        """Close at once; nothing more is written."""
        if self.is_closed:
            return
        self.is_closed = True
        self._reader.stop()  # before the descriptor closes: its number is soon somebody else's
        self._reader.close()
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
        self._forget()
        with suppress(OSError):
            self.sock.close()
        if self.owner is not None:
            owner, self.owner = self.owner, None
            owner.closed(reason)


def _name(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode.get(error.errno, str(error.errno)).lower()
    return str(error)
