"""(I/O) Published messages from all nodes to all nodes: XSUB to XPUB, in C, in a thread of its own."""

import threading

import zmq

from xcluster.bus.zeromq import Endpoints


class Forwarder:
    """libzmq's proxy between two bound sockets; ends when its context does."""

    def __init__(self, front: zmq.Socket[bytes], back: zmq.Socket[bytes], address: Endpoints) -> None:
        self._front = front
        self._back = back
        front.bind(address.publish)
        back.bind(address.subscribe)
        self._thread = threading.Thread(target=self.run_proxy, daemon=True, name="forwarder")

    def start(self) -> None:
        self._thread.start()

    def run_proxy(self) -> None:
        try:
            zmq.proxy(self._front, self._back)
        except zmq.ContextTerminated:
            pass
        finally:
            self._front.close(0)
            self._back.close(0)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
