"""A followed chain in lock-step: its file is looked at on simulated time, its frames go straight to the policy."""

from __future__ import annotations

from pathlib import Path

from runtime.followed_chain import FollowedChain
from runtime.hand import load_hand
from runtime.needs import mode_of, stream_needs
from runtime.policy import Policy
from runtime.settings import RunSettings

LOOK_NS = 100_000_000


class ChainFeeder:
    """As `lockstep.Feeder`.

    Args:
        settings: of a run that follows a chain.
        policy: whose stream takes the frames.

    Attributes:
        chain: the followed one, once time has begun.
    """

    def __init__(self, settings: RunSettings, policy: Policy, begin_ns: int = 1_000_000_000) -> None:
        manifest, stream = policy.manifest, policy.stream
        assert settings.clip is not None and stream is not None
        mode, hands = mode_of(manifest, settings.mode), None if settings.hands is None else load_hand(settings.hands)
        channels, _ = stream_needs(manifest, mode, has_hands=hands is not None)
        self.chain = FollowedChain(Path(settings.clip), manifest, mode, channels,
                                   lambda record: stream.take(record.tobytes()), begin_ns, settings.follow_timeout_s,
                                   hands)
        self._look_ns = begin_ns

    @property
    def newest_ns(self) -> int:
        """When the newest frame was handed over."""
        return self.chain.newest_ns

    @property
    def is_over(self) -> bool:
        """Its end has come, and it stands there."""
        return self.chain.is_over

    def feed(self, now_ns: int, *, followed: bool) -> None:
        """Whatever is due."""
        if now_ns >= self._look_ns:
            self._look_ns += LOOK_NS
            self.chain.consider(now_ns)
        self.chain.look(now_ns, followed=followed)
