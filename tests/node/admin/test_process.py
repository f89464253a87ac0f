"""node/admin/process.py: what the kernel and the C library say, and what Python does not know of."""

import socket
import ssl

import pytest

from xcluster.node.admin import process
from xcluster.node.transport import tls
from xcluster.shared.parsers import Parser, ParserPool
from xcluster.tools.certificate import write_pair

MANY = 40

pytestmark = pytest.mark.skipif(not process.outside().malloc_in_use, reason="the C library does not tell")


def in_use():
    return process.outside().malloc_in_use


def test_process_knows_its_memory():
    outside = process.outside()
    assert outside.pss > outside.malloc_in_use > 1_000_000
    assert outside.python_blocks > 10_000
    assert outside.sqlite >= 0


def test_trim_gives_free_memory_back():
    assert process.can_trim()
    blocks = [bytes(100_000) + b"x" for _ in range(600)]  # below what malloc maps on its own
    kept = blocks[::20]
    before = process.pss()
    del blocks
    process.trim()
    assert process.pss() < before - 40_000_000
    assert len(kept) == 30


def test_parser_takes_what_is_counted_for_it():
    pool = ParserPool()
    parsers = [Parser(pool)]
    before = in_use()
    parsers += [Parser(pool) for _ in range(MANY)]
    for parser in parsers:
        parser.parse(b"<message to='a@b/c' type='chat'><body>hello</body></message>", 65_536)
    assert (in_use() - before) / MANY == pytest.approx(process.HIDDEN[Parser], rel=0.4)


class Handshakes:
    """TLS connections over socket pairs; `spent` is what their server sides took."""

    def __init__(self, folder):
        certificate, key = write_pair(folder, "test.example")
        self._server = tls.context(str(certificate), str(key))
        self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname = False
        self._client.verify_mode = ssl.CERT_NONE
        self.kept = []
        self.spent = 0

    def one(self):
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        server = self._counted(
            lambda: self._server.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        )
        client = self._client.wrap_socket(theirs, do_handshake_on_connect=False)
        self.kept += [server, client]
        waiting = {client, server}
        for _ in range(10):
            for side in [side for side in (client, server) if side in waiting]:
                step = _shaken if side is client else lambda side: self._counted(lambda: _shaken(side))
                if step(side):
                    waiting.remove(side)
        assert not waiting
        client.send(b"x" * 300)
        self._counted(lambda: (server.recv(65_536), server.send(b"y" * 300)))

    def _counted(self, action):
        before = in_use()
        result = action()
        self.spent += in_use() - before
        return result

    def close(self):
        for sock in self.kept:
            sock.close()


def _shaken(side):
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def test_tls_takes_what_is_counted_for_it(tmp_path):
    handshakes = Handshakes(tmp_path)
    handshakes.one()  # tables that all share
    handshakes.spent = 0
    for _ in range(MANY):
        handshakes.one()
    handshakes.close()
    assert handshakes.spent / MANY == pytest.approx(process.HIDDEN[process.SECURED], rel=0.3)
