"""Whether the loop of a process turns."""

import threading
import time
from collections.abc import Callable

PULSE_TIMEOUT_S = 1.0  # of one question
_EVERY_S = 1.0
_STILL_S = 5.0  # a loop that answers nothing for so long is taken to stand still
_STILL_ASKED = 4  # ... when it was asked at least so often: we may have been stopped ourselves


class Pulse:
    """Asks a process every second whether its loop turns; in a thread, since it may not answer."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._stopped = threading.Event()
        self._silent_since: float | None = None
        self._unanswered = 0
        threading.Thread(target=self.run_pulse, daemon=True).start()

    def run_pulse(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            asked_at = time.monotonic()
            if self._ask():
                self._silent_since, self._unanswered = None, 0
            else:
                self._silent_since = self._silent_since or asked_at
                self._unanswered += 1

    def is_still(self, now: float) -> bool:
        since = self._silent_since
        return since is not None and now - since >= _STILL_S and self._unanswered >= _STILL_ASKED

    def stop(self) -> None:
        self._stopped.set()
