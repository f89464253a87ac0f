"""(I/O) HTTP for operators: everything on a unix socket that only this user can open, health and metrics on TCP too."""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gevent.socket
import msgspec
from gevent.pywsgi import WSGIServer

from xcluster.shared.errors import ConfigError, XclusterError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

MAX_BODY = 65_536
Query = dict[str, str]
Handler = Callable[[Query, Any], Any]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Unavailable(XclusterError):
    """Answered with 503: the body is still useful."""

    def __init__(self, body: Any) -> None:
        super().__init__("unavailable")
        self.body = body


class Api:
    """Routes, and the servers that answer them."""

    def __init__(self, public: Mapping[str, Handler], private: Mapping[str, Handler]) -> None:
        """Handlers by "METHOD /path"; the public ones are served on TCP as well."""
        self._public = public
        self._all = {**public, **private}
        self._servers: list[WSGIServer] = []
        self._path: Path | None = None
        self.port = 0

    def open(self, path: Path, listen: str) -> None:
        """Serve; raises ConfigError when an address can't be had."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        sock = gevent.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(path))
        except OSError as error:
            raise ConfigError("server.run_dir", str(path), f"cannot hold a socket: {error}") from error
        path.chmod(0o600)
        sock.listen(64)
        self._path = path
        self._serve(sock, self._all)
        if listen:
            host, _, port = listen.rpartition(":")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            tcp = gevent.socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind((host.strip("[]"), int(port)))
            except OSError as error:
                raise ConfigError("admin.listen", listen, f"cannot be bound: {error}") from error
            tcp.listen(64)
            self.port = tcp.getsockname()[1]
            self._serve(tcp, self._public)

    def _serve(self, sock: Any, handlers: Mapping[str, Handler]) -> None:
        server = WSGIServer(sock, _application(handlers), log=None, error_log=log)
        server.start()
        self._servers.append(server)

    def close(self) -> None:
        for server in self._servers:
            server.stop(timeout=1)
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _application(handlers: Mapping[str, Handler]) -> Wsgi:
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        handler = handlers.get(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        status: str = "404 Not Found"
        body: Any = {"error": "no such resource"}
        if handler is not None:
            status, body = _call(handler, environ)
        if isinstance(body, bytes):
            data, kind = body, "text/plain; version=0.0.4; charset=utf-8"
        else:
            data, kind = msgspec.json.encode(body) + b"\n", "application/json"
        start(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
        return [data]

    return application


def _call(handler: Handler, environ: dict[str, Any]) -> tuple[str, Any]:
    try:
        query = {key: values[-1] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        size = min(int(environ.get("CONTENT_LENGTH") or 0), MAX_BODY)
        data = environ["wsgi.input"].read(size) if size else b""
        return "200 OK", handler(query, msgspec.json.decode(data) if data else {})
    except Unavailable as error:
        return "503 Service Unavailable", error.body
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        return "400 Bad Request", {"error": f"{type(error).__name__}: {error}"}
    except XclusterError as error:
        return "500 Internal Server Error", {"error": str(error)}
    except Exception as error:
        log.exception("admin_failed", extra=kv(path=environ.get("PATH_INFO"), pid=os.getpid()))
        return "500 Internal Server Error", {"error": type(error).__name__}
