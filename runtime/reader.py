"""Reading JSON that people write: every value checked as it is taken, every refusal naming its key."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import numpy as np

from runtime.errors import Refused

F32_MAX = float(np.finfo(np.float32).max)


class Reader:
    """Takes values out of parsed JSON.

    Args:
        what: what is being read, for refusals ("manifest controller.json").
        what_to_do: one instruction for whoever wrote it.
    """

    def __init__(self, what: str, what_to_do: str) -> None:
        self.what, self.what_to_do = what, what_to_do

    def refuse(self, key: str, expected: str, found: object) -> Refused:
        """The error for a key; to be raised by the caller."""
        return Refused(f"{self.what}, {key}", expected=expected, found=f"{found}", what_to_do=self.what_to_do)

    def keys(self, key: str, found: Any, known: set[str] | None, needed: set[str] | None = None) -> None:
        """An object with known keys only (None: any), and all of the needed ones."""
        if not isinstance(found, dict):
            raise self.refuse(key, "an object", type(found).__name__)
        unknown = sorted(set(found) - known) if known is not None else []
        if known is not None and unknown:
            raise self.refuse(key, f"keys among {', '.join(sorted(known))}", f"unknown {', '.join(unknown)}")
        missing = sorted((needed or set()) - set(found))
        if missing:
            raise self.refuse(key, f"keys {', '.join(sorted(needed or set()))}", f"missing {', '.join(missing)}")

    def one_of(self, key: str, found: Any, choices: tuple[str, ...]) -> str:
        """One of a few texts."""
        if found not in choices:
            raise self.refuse(key, f"one of {', '.join(choices)}", found)
        return str(found)

    def text(self, key: str, found: Any) -> str:
        """A text that is not empty."""
        if not isinstance(found, str) or not found:
            raise self.refuse(key, "a text", f"{found!r}")
        return found

    def listed(self, key: str, found: Any) -> list[Any]:
        """A list that is not empty."""
        if not isinstance(found, list) or not found:
            raise self.refuse(key, "a list that is not empty", f"{found!r}")
        return found

    def texts(self, key: str, found: Any) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self.text(f"{key}[{i}]", name) for i, name in enumerate(self.listed(key, found)))

    def number(self, key: str, found: Any, low: float = -F32_MAX, high: float = F32_MAX) -> float:
        """A finite number within float32, and within a range."""
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not low <= found <= high:
            raise self.refuse(key, f"a number from {low:g} to {high:g}", f"{found!r}")
        return float(found)

    def whole(self, key: str, found: Any, low: int, high: int) -> None:
        """A whole number in a range."""
        if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
            raise self.refuse(key, f"a whole number from {low} to {high}", f"{found!r}")

    def flag(self, key: str, found: Any) -> bool:
        """True or false."""
        if not isinstance(found, bool):
            raise self.refuse(key, "true or false", f"{found!r}")
        return found

    def numbers(self, key: str, found: Any) -> tuple[float, ...]:
        """One number or a list of them."""
        listed = found if isinstance(found, list) and found else [found]
        return tuple(self.number(key, value) for value in listed)

    def span(self, key: str, found: Any, *, may_be_empty: bool = False) -> tuple[float, float]:
        """[low, high]; `may_be_empty` lets them be equal."""
        span = self.numbers(key, found)
        if len(span) != 2 or not (span[0] < span[1] or (may_be_empty and span[0] == span[1])):
            raise self.refuse(key, "[low, high]", found)
        return span[0], span[1]

    def distinct(self, key: str, names: list[str]) -> None:
        """Names that must not repeat."""
        if len(set(names)) < len(names):
            raise self.refuse(key, "each name once", ", ".join(names))


def parse_json(data: bytes, reader: Reader, *, non_finite: bool = False) -> Any:
    """Strict JSON: UTF-8, each key of an object once, neither NaN nor Infinity.

    Args:
        non_finite: let those two pass, for a caller that refuses them with the key they stand at.

    Raises:
        Refused: anything else, in the reader's words.
    """

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(found)
        if len(out) < len(found):
            names = [name for name, _ in found]
            raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} twice in one object")
        return out

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name}, which is no number of JSON")

    named = float if non_finite else constant
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=named)
    except (ValueError, RecursionError) as error:
        raise reader.refuse("text", "a JSON file", f"{error}"[:200]) from error
