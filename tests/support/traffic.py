"""Numbered messages between people, sent all the time; what came is held against what was sent."""

from collections import Counter, defaultdict
from itertools import pairwise

import gevent

from tests.support.xmpp import Person, until


class Traffic:
    """Each of `pairs` writes to each other; to full JIDs, and in every second pair to bare ones."""

    def __init__(self, pairs: list[tuple[Person, Person]], per_second: float) -> None:
        self.sent: Counter[tuple[str, str]] = Counter()
        self._ways = [way for one, other in pairs for way in ((one, other), (other, one))]
        self._pause_s = len(self._ways) / per_second
        self._is_on = True
        self._writers = [
            gevent.spawn(
                self._run_writer, sender, receiver, receiver.bare if number % 4 > 1 else receiver.jid
            )
            for number, (sender, receiver) in enumerate(self._ways)
        ]

    def _run_writer(self, sender: Person, receiver: Person, to: str) -> None:
        while self._is_on:
            self.sent[sender.jid, receiver.jid] += 1
            sender.say(to, str(self.sent[sender.jid, receiver.jid]))
            gevent.sleep(self._pause_s)

    @property
    def total(self) -> int:
        return self.sent.total()

    @property
    def arrived(self) -> int:
        return sum(len(receiver.received) for _, receiver in self._ways)

    def flow(self, seconds: float) -> None:
        """Let messages be sent for a while, as many as the rate says."""
        until_total = self.total + seconds / self._pause_s * len(self._ways)
        until(lambda: self.total >= until_total, 2 * seconds + 5)

    def finish(self, seconds: float = 30.0) -> None:
        """End it; wait until everything has arrived."""
        self.stop()
        until(lambda: self.arrived >= self.total, seconds)

    def stop(self) -> None:
        self._is_on = False
        gevent.joinall(self._writers, raise_error=True)

    def wrong(self) -> list[str]:
        """What was lost, doubled, misrouted, refused or out of order."""
        found = []
        for receiver in {receiver.jid: receiver for _, receiver in self._ways}.values():
            came: dict[str, list[int]] = defaultdict(list)
            for sender, body in receiver.received:
                came[sender].append(int(body))
            for (sender, to), count in self.sent.items():
                if to == receiver.jid and came.pop(sender, []) != list(range(1, count + 1)):
                    found.append(f"{sender} -> {to}: {_oddities(receiver, sender, count)}")
            found += [f"{receiver.jid} got something from {sender}" for sender in came]
            found += [f"{receiver.jid}: {error}" for error in receiver.errors]
        return found


def _oddities(receiver: Person, sender: str, count: int) -> str:
    numbers = [int(body) for from_, body in receiver.received if from_ == sender]
    times = Counter(numbers)
    lost = [number for number in range(1, count + 1) if number not in times]
    doubled = [number for number, often in times.items() if often > 1]
    backwards = [(a, b) for a, b in pairwise(numbers) if b < a]
    return f"of {count} lost {lost[:9]}, doubled {doubled[:9]}, out of order {backwards[:9]}"
