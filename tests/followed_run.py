"""Chains that are followed in lock-step, and what is appended to them at given moments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.recorder import settings_for
from firmware_bridge.simulated_robot import Disturbance
from runtime.chain_command import append_to
from runtime.chain_feeder import ChainFeeder
from runtime.followed_chain import PERIOD_NS, FollowedChain
from runtime.pilot import Phase
from runtime.settings import GATE_HZ
from tests.handover_trial import OperatedRun, Steps

SETTLING_S = 0.45
"""After a seam's blend: what the controller still makes of it, and what the stream is played later."""


class FollowedRun(OperatedRun):
    """A run in lock-step that follows a chain's file.

    Attributes:
        file: of the chain.
        seams: the largest steps around seams, the way to standing among them; `elsewhere` the others.
    """

    def __init__(
        self, folder: Path, first: str = "walk", controller: str = "g1-tracker", model: str | None = None,
        disturbance: Disturbance | None = None, timeout_s: float | None = None,
    ) -> None:
        self.file = folder / "chain.json"
        append_to(self.file, {"clip": first})
        super().__init__(replace(settings_for(controller, model=model, clip=str(self.file)), follow=True,
                                 follow_timeout_s=timeout_s), disturbance)
        self.feed = ChainFeeder(self.settings, self.policy)
        self.feeder = self.feed
        self.seams, self.elsewhere = Steps(), self.steps["tracker"]

    @property
    def chain(self) -> FollowedChain:
        return self.feed.chain

    def append(self, clip: str, **more: object) -> None:
        append_to(self.file, {"clip": clip, **more})

    @property
    def left_s(self) -> float:
        """Until the last action gives way to standing; negative behind it."""
        return (self.chain.ending - self.chain.frame) * PERIOD_NS * 1e-9

    def tick(self) -> None:
        played_s = self.chain.frame * PERIOD_NS * 1e-9
        is_seam = self.policy.pilot.phase in (Phase.PLAY, Phase.RESUME) and any(
            seam.time_s - 0.1 <= played_s <= seam.time_s + seam.blend_s + SETTLING_S for seam in self.chain.seams)
        self.steps["tracker"] = self.seams if is_seam else self.elsewhere
        super().tick()

    def until_left(self, seconds: float) -> None:
        """Up to so long before the last action gives way to standing."""
        while self.left_s > max(seconds, 0.0) and not self.is_over:
            self.operate()
            self.tick()

    def to_the_end(self, longest_s: float = 120.0) -> None:
        """Until it has damped."""
        end = self.ticks + round(longest_s * GATE_HZ)
        while not self.is_over and self.ticks < end:
            self.operate()
            self.tick()
