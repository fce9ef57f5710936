"""A publisher's settings file, every value checked as it is taken: what is wrong is said with its key."""

from __future__ import annotations

import math
from typing import Any

from runtime.errors import Refused


class Published:
    """A parsed file of somebody else's.

    Attributes:
        what: what it is called in refusals.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def refuse(self, key: str, expected: str, found: object) -> Refused:
        """The error for a key; to be raised by the caller."""
        return Refused(f"{self.what}, {key}", expected=expected, found=f"{found!r}"[:200],
                       what_to_do="give the file that belongs to the policy, unchanged; or write the manifest by hand "
                       "(docs/controllers.md)")

    def mapping(self, key: str, found: Any) -> dict[str, Any]:
        """A mapping; nothing at all is an empty one."""
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self.refuse(key, "a mapping", found)
        return found

    def number(self, key: str, found: Any) -> float:
        """One finite number."""
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            raise self.refuse(key, "a number", found)
        return float(found)

    def numbers(self, key: str, found: Any, size: int) -> list[float]:
        """`size` finite numbers, or one for all."""
        listed = found if isinstance(found, list) else [found]
        values = [self.number(key, value) for value in listed]
        if len(values) == 1:
            values = values * size
        if len(values) != size:
            raise self.refuse(key, f"{size} numbers, or one", f"{len(values)} numbers")
        return values

    def whole(self, key: str, found: Any) -> int:
        """A whole number from zero up."""
        value = self.number(key, found)
        if value < 0 or not value.is_integer():
            raise self.refuse(key, "a whole number, 0 or more", found)
        return int(value)

    def indices(self, key: str, found: Any, what: str) -> list[int]:
        """A list of different whole numbers."""
        listed = [self.whole(key, value) for value in found] if isinstance(found, list) else []
        if not listed or len(set(listed)) < len(listed):
            raise self.refuse(key, f"a list of different {what}", found)
        return listed

    def bounds(self, key: str, found: Any) -> tuple[float, float] | None:
        """(low, high); None where there are none."""
        if found is None:
            return None
        if not isinstance(found, list) or len(found) != 2:
            raise self.refuse(key, "[low, high]", found)
        low, high = (self.number(key, value) for value in found)
        if low >= high:
            raise self.refuse(key, "[low, high] with low below high", found)
        return low, high
