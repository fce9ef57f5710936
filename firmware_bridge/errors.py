"""The error family of the firmware bridge: what was expected, what was found, what to do."""

from __future__ import annotations


class BridgeError(Exception):
    """Set-up of the bridge cannot go on.

    Args:
        what: the thing that is wrong, e.g. ``"network interface"``.
        expected: what would have been right.
        found: what was there instead.
        what_to_do: one instruction for the operator.
    """

    def __init__(self, what: str, *, expected: str, found: str, what_to_do: str) -> None:
        super().__init__(f"{what}: expected {expected}, found {found}; {what_to_do}")
        self.what = what
        self.expected = expected
        self.found = found
        self.what_to_do = what_to_do

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles with its keyword fields, so that it crosses process borders."""
        return (_rebuild, (type(self), self.what, self.expected, self.found, self.what_to_do))


class DdsError(BridgeError):
    """The DDS library, domain or an entity cannot be had."""


def _rebuild(kind: type[BridgeError], what: str, expected: str, found: str, what_to_do: str) -> BridgeError:
    return kind(what, expected=expected, found=found, what_to_do=what_to_do)
