"""A chain's file while a run follows it: told apart by content; what was taken must stay, and more may come."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runtime.chain import MOST_BYTES, Chain, parse_chain
from runtime.errors import Refused

SETTLED_NS = 300_000_000
"""Whoever writes in place may be met half-way: what is wrong is spoken of when it has stood for so long."""


class ChainWatch:
    """Looks at the file again and again.

    Args:
        path: of the file.
        chain: what was taken at first.

    Attributes:
        entries: those taken so far; kept up to date by the caller.
    """

    def __init__(self, path: Path, chain: Chain) -> None:
        self._path, self.entries, self._is_done = path, chain.entries, chain.is_done
        self._seen, self._odd, self._odd_ns = b"", b"", 0

    def look(self, now_ns: int) -> Chain | None:
        """What the file says by now, where that is more than before; each text of it once.

        Raises:
            Refused: no chain, or one in which what was taken is changed.
        """
        text = self._text()
        digest = hashlib.sha256(text).digest()
        if digest == self._seen:
            return None
        try:
            chain = parse_chain(text, self._path)
            self._check(chain)
        except Refused:
            if digest != self._odd:
                self._odd, self._odd_ns = digest, now_ns
            if now_ns - self._odd_ns < SETTLED_NS:
                return None
            self._seen = digest
            raise
        self._seen, self._odd = digest, b""
        is_news = len(chain.entries) > len(self.entries) or chain.is_done != self._is_done
        self._is_done = chain.is_done
        return chain if is_news else None

    def _text(self) -> bytes:
        """The file's, or nothing where there is none to be read."""
        try:
            with self._path.open("rb") as file:
                return file.read(MOST_BYTES + 1)
        except OSError:
            return b""

    def _check(self, chain: Chain) -> None:
        for number, entry in enumerate(self.entries):
            if number < len(chain.entries) and chain.entries[number] == entry:
                continue
            found = f"actions[{number}] is another" if number < len(chain.entries) else f"{len(chain.entries)} actions"
            raise Refused(f"chain {self._path.name}", expected=f"the {len(self.entries)} actions that were taken, as "
                          "they were, and more after them", found=found,
                          what_to_do="put them back and append; what was taken is played")
