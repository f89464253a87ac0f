"""What a person sees of `xcluster up`: lines with the process's name before them, and a status line.

A thread of its own writes, from a bounded queue: when the terminal is on hold, or the reader of a pipe stands
still, lines are dropped and counted; supervision goes on.
"""

import queue
import sys
import threading

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

_WAITING_LINES = 10_000
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")


class Console:
    """Standard output of `up`; `close` writes what is waiting."""

    def __init__(self) -> None:
        self._lines: queue.Queue[tuple[str, str] | None] = queue.Queue(_WAITING_LINES)
        self._dropped = 0
        self._status = ""
        self._colours: dict[str, str] = {}
        self.is_terminal = sys.stdout.isatty()
        self._writer = threading.Thread(target=self.run_writer, daemon=True)
        self._writer.start()

    def show(self, name: str, line: str) -> None:
        """A line of a process."""
        try:
            self._lines.put_nowait((name, line))
        except queue.Full:
            self._dropped += 1

    def status(self, text: str) -> None:
        """What stands below the lines, on a terminal."""
        self._status = text

    def close(self) -> None:
        self.show("up", "bye") if self._dropped else None
        try:
            self._lines.put(None, timeout=1.0)
        except queue.Full:
            return  # nobody reads
        self._writer.join(2.0)

    def run_writer(self) -> None:
        try:
            if self.is_terminal:
                self._write_terminal()
            else:
                self._write_plain()
        except OSError:  # our reader has gone: nobody is left to tell
            while self._lines.get() is not None:
                pass

    def _write_plain(self) -> None:
        while (item := self._lines.get()) is not None:
            name, line = item
            sys.stdout.write(f"{self._note()}{name:<3} | {line}\n")
            if self._lines.empty():
                sys.stdout.flush()
        sys.stdout.flush()

    def _write_terminal(self) -> None:
        console = RichConsole(highlight=False, soft_wrap=True)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                try:
                    item = self._lines.get(timeout=0.5)
                except queue.Empty:
                    live.update(Text(self._status, style="bold reverse"), refresh=True)
                    continue
                if item is None:
                    return
                name, line = item
                colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
                console.print(Text.assemble(self._note(), (f"{name:<3} | ", colour), line))

    def _note(self) -> str:
        dropped, self._dropped = self._dropped, 0
        return f"up  | {dropped} lines were not shown: this output was not read\n" if dropped else ""
