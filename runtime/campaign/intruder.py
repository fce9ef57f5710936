"""Somebody else who commands the robot: announces a writer of the command topic, writes nothing.

    python -m runtime.campaign.intruder DOMAIN

It prints the moment before the announcement (monotonic, ns) and stays until its standard input closes.
"""

from __future__ import annotations

import sys
import time

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import HG_LOW_CMD
from firmware_bridge.unitree_bus import COMMAND_TOPIC

DISCOVERY_S = 0.5
"""How long participants get to know each other before the writer comes: the fault is the writer."""


def main() -> None:
    """Entry of the process."""
    with Participant(DdsSettings(int(sys.argv[1])), "intruder") as us:
        time.sleep(DISCOVERY_S)
        moment = time.monotonic_ns()
        us.writer(COMMAND_TOPIC, HG_LOW_CMD)
        print(moment, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
