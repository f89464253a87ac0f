"""A client who writes and reads letters of a ledger (I/O)."""

import time
from collections.abc import Callable

from xcluster.loadtest import stream
from xcluster.loadtest.client import Client
from xcluster.loadtest.ledger import Ledger, Letter
from xcluster.loadtest.stream import Element

OnLetter = Callable[[Letter], object]
OnPresence = Callable[[str, str | None], None]  # from, type


class Correspondent:
    """Enters what its client sends and gets into the ledger."""

    def __init__(
        self, client: Client, ledger: Ledger, on_letter: OnLetter, on_presence: OnPresence | None = None
    ) -> None:
        self.client = client
        self._ledger = ledger
        self._on_letter = on_letter
        self._on_presence = on_presence
        client.start(self._take)

    def write(self, recipient: str) -> Letter:
        letter = self._ledger.write(self.client.jid, recipient, time.monotonic())
        try:
            self.client.message(recipient, letter.body(), str(letter.seq))
        except OSError:
            self._ledger.not_sent(letter)
            raise
        return letter

    def _take(self, element: Element) -> None:
        sender = str(element.get("from"))
        if element.tag == stream.PRESENCE and self._on_presence is not None:
            self._on_presence(sender, element.get("type"))
        elif element.tag == stream.MESSAGE and element.get("type") == "error":
            error = element.find(stream.STANZA_ERROR)
            condition = "undefined-condition" if error is None else stream.condition(error)
            recipient = sender.partition("/")[0]
            self._ledger.came_back(self.client.jid, recipient, int(element.get("id", "0")), condition)
        elif element.tag == stream.MESSAGE and (body := element.findtext(stream.BODY)) is not None:
            now = time.monotonic()
            late = element.find(stream.DELAY) is not None
            letter = self._ledger.read(self.client.bare, sender, body, now, late)
            if letter is not None:
                self._on_letter(letter)
