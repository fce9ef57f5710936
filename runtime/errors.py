"""The runtime's one error family: bad input, refused before anything moves."""

from __future__ import annotations

from firmware_bridge.errors import BridgeError


class Refused(BridgeError):
    """Input that the runtime will not run with: what was expected, what was found, what to do."""
