"""An independent witness of the command topic: the campaign's own."""

from runtime.campaign.witness import FRAME, WireObserver

__all__ = ["FRAME", "WireObserver"]
