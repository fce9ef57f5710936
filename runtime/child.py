"""A child process of a run: started, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.realtime import PARENT

THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
SPARE = "--spare"
"""Word of a child that loads and then waits to be called."""
LAST_WORDS_S = 1.0
"""How long what a dead child said may take from the pipe into `events`."""


class Child:
    """One process; its events arrive as dictionaries in `events`.

    Args:
        waits: keep its standard input open, for `call` and `tell`; otherwise it has none.

    It gets a session of its own, so that Ctrl-C reaches the supervisor alone and the order of stopping is ours.
    Start it from the main thread: the kernel's notice of a dead parent belongs to the thread that forked.
    """

    def __init__(self, name: str, arguments: list[str], errors: Path, *, waits: bool = False) -> None:
        self.name = name
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._errors = errors
        with errors.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, **THREADS, PARENT: str(os.getpid())},
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and "event" in event:
                    self.events.put(event)

    def tell(self, line: str) -> None:
        """A line to a process that listens; one that is gone hears nothing."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def call(self) -> None:
        """One line to a process that waits for it; one that is gone hears nothing."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(b"\n")
            self.process.stdin.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def await_ready(self, timeout_s: float, warn: Callable[[str], None]) -> dict[str, Any]:
        """The child's `ready` event.

        Raises:
            Refused: what the child refused, or that it died or said nothing.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                event = self.events.get(timeout=0.05)
            except queue.Empty:
                alive = self.is_alive()
                if not alive:
                    self._listener.join(LAST_WORDS_S)
                if time.monotonic() < end and (alive or not self.events.empty()):
                    continue
                found = "silence" if self.is_alive() else f"exit code {self.process.returncode}: {self.last_words()}"
                raise Refused(f"process {self.name}", expected=f"ready within {timeout_s:.0f} s", found=found,
                              what_to_do=f"see {self._errors}") from None
            if event["event"] == "refused":
                raise Refused(event["what"], expected=event["expected"], found=event["found"],
                              what_to_do=event["what_to_do"])
            if event["event"] == "warning":
                warn(str(event["message"]))
            if event["event"] == "ready":
                return event

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        try:
            lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        if lines and lines[-1].startswith("refused: "):
            return lines[-1]
        return " | ".join(lines[-3:])[-500:]

    def end(self, timeout_s: float) -> None:
        """Ask it to stop; insist after the time."""
        if self.is_alive():
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)  # a stopped process would hear nothing until then
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self._listener.join(LAST_WORDS_S)
