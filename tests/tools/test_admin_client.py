"""Asking a process over its unix socket."""

import json
import socket
import threading

import pytest

from xcluster.shared.config import load
from xcluster.tools.admin_client import AdminClient, AdminError, Unreachable, any_node, node_sockets


class Answering:
    """A socket that answers every request with the same status and body, and keeps what it was asked."""

    def __init__(self, path, status="200 OK", body="{}"):
        self.asked = []
        self._answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self.run_answers)
        self._thread.start()

    def run_answers(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65_536)
                head, _, body = request.partition(b"\r\n\r\n")
                if b"Content-Length" in head and not body:
                    body = connection.recv(65_536)
                self.asked.append((head.split(b" HTTP")[0].decode(), body))
                connection.sendall(self._answer)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def answering(tmp_path):
    started = []

    def start(name="n1", **how):
        started.append(Answering(tmp_path / f"{name}.sock", **how))
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"kind": "node", "name": name, "pid": 1, "ports": {}})
        )
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_answer_is_json(answering, tmp_path):
    node = answering(body='{"node": "n1"}')
    assert AdminClient(tmp_path / "n1.sock").get("/api/status") == {"node": "n1"}
    assert node.asked == [("GET /api/status", b"")]


def test_query_is_quoted(answering, tmp_path):
    node = answering(body="[]")
    AdminClient(tmp_path / "n1.sock").get("/api/sessions", user="a&b=c")
    assert node.asked[0][0] == "GET /api/sessions?user=a%26b%3Dc"


def test_body_is_json(answering, tmp_path):
    node = answering(body='{"kicked": 1}')
    assert AdminClient(tmp_path / "n1.sock").post("/api/sessions/kick", {"jid": "a@b/c"}) == {"kicked": 1}
    assert node.asked == [("POST /api/sessions/kick", b'{"jid": "a@b/c"}')]


def test_refusal_is_one_line_with_the_reason(answering, tmp_path):
    answering(status="400 Bad Request", body='{"error": "no such JID"}')
    with pytest.raises(AdminError) as caught:
        AdminClient(tmp_path / "n1.sock").get("/api/status")
    assert str(caught.value) == "n1 refused GET /api/status: 400 no such JID"


def test_answer_that_is_no_json_is_told(answering, tmp_path):
    answering(body="<html>")
    with pytest.raises(AdminError, match="n1 answered GET /api/status with 200 and no JSON"):
        AdminClient(tmp_path / "n1.sock").get("/api/status")


def test_missing_socket_is_told(tmp_path):
    with pytest.raises(Unreachable, match=r"n1 does not answer on .*n1.sock"):
        AdminClient(tmp_path / "n1.sock").get("/api/status")


def test_socket_that_nobody_serves_is_told(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "n1.sock"))
    assert not AdminClient(tmp_path / "n1.sock").is_live()


def test_process_that_does_not_answer_is_given_up(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "n1.sock"))
        listener.listen()
        with pytest.raises(Unreachable, match=r"n1 did not answer on .* in time"):
            AdminClient(tmp_path / "n1.sock", 0.1).get("/api/status")


def test_any_node_passes_over_the_dead(answering, tmp_path):
    (tmp_path / "n0.json").write_text('{"kind": "node", "name": "n0", "pid": 1, "ports": {}}')
    (tmp_path / "b1.json").write_text('{"kind": "bus", "name": "b1", "pid": 1, "ports": {}}')
    (tmp_path / "n2.json").write_text('{"kind": "no')
    answering("n1")
    config = load(None, [f"server.run_dir={tmp_path}"])
    assert [path.name for path in node_sockets(config)] == ["n0.sock", "n1.sock"]
    assert any_node(config).name == "n1"


def test_no_node_at_all_is_told_with_the_place(tmp_path):
    with pytest.raises(Unreachable, match=f"no node answers in {tmp_path} .none has left its socket there."):
        any_node(load(None, [f"server.run_dir={tmp_path}"]))
