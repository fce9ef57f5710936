"""What a student is asked to do while it learns: one long reference for every episode, put together from clips.

Standing, a blend into a random part of a random clip, the clip, and either a blend back to standing (as the runtime's
pilot does it) or straight into the next clip. For a velocity controller: commands that change now and then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from export.motions import mirrored, overlaid, warped
from runtime.clip import Clip
from runtime.controller import Controller, idle_frame
from runtime.manifest import Manifest
from runtime.pilot import BLEND_IN_S, BLEND_OUT_S, min_jerk
from runtime.reference import ClipReference, ReferenceFrame

F64 = npt.NDArray[np.float64]
WARP = (0.8, 1.2)
PART_S = (2.0, 8.0)
STAND_S = (0.3, 1.5)
COMMAND_S = (1.5, 4.0)


class Repertoire:
    """Clips, and the seeded variety made of them.

    Args:
        manifest: whose joints and rate count.
        clips: the motions.
        weights: how often each is drawn, relative.
    """

    def __init__(self, manifest: Manifest, clips: Sequence[Clip], weights: Sequence[float]) -> None:
        self.manifest, self.clips = manifest, list(clips)
        self._weights = np.asarray(weights, np.float64) / np.sum(weights) if len(clips) else np.zeros(0)
        self._tracks: dict[tuple[int, bool], F64] = {}

    def track(self, rng: np.random.Generator, duration_s: float) -> F64:
        """(ticks, 2n + 16) reference frames at the controller's rate, `ReferenceFrame.values` each."""
        rate = self.manifest.rate_hz
        idle, first, last = (idle_frame(self.manifest) for _ in range(3))
        rows: list[F64] = [_still(idle, rng.uniform(*STAND_S), rate)]
        ticks = len(rows[0])
        standing = True
        while ticks < duration_s * rate:
            part = self._part(rng)
            first.values[:] = part[0]
            if standing:
                rows.append(_blend(idle, first, BLEND_IN_S, rate, smooth=False))
            else:
                last.stop()
                rows.append(_blend(last, first, rng.uniform(0.5, 1.0), rate, smooth=True))
            rows.append(part)
            last.values[:] = part[-1]
            standing = bool(rng.random() < 0.6)
            if standing:
                last.stop()
                rows.append(_blend(last, idle, BLEND_OUT_S, rate, smooth=True))
                rows.append(_still(idle, rng.uniform(*STAND_S), rate))
            ticks = sum(len(row) for row in rows)
        return np.concatenate(rows)

    def _part(self, rng: np.random.Generator) -> F64:
        which = int(rng.choice(len(self.clips), p=self._weights))
        mirror = bool(rng.random() < 0.5)
        if rng.random() < 0.5:  # as recorded, sampled once
            whole = self._plain(which, mirror)
        else:
            clip = mirrored(self.clips[which]) if mirror else self.clips[which]
            if rng.random() < 0.5:
                clip = overlaid(clip, self.clips[int(rng.integers(len(self.clips)))], rng.uniform(0.3, 1.0))
            whole = self._sampled(warped(clip, rng.uniform(*WARP)))
        ticks = max(2, int(rng.uniform(*PART_S) * self.manifest.rate_hz))
        # the beginning counts as often as all other places together: every run starts there
        start = 0 if rng.random() < 0.4 else int(rng.integers(max(1, len(whole) - ticks)))
        return whole[start : start + ticks]

    def _plain(self, which: int, mirror: bool) -> F64:
        key = which, mirror
        if key not in self._tracks:
            self._tracks[key] = self._sampled(mirrored(self.clips[which]) if mirror else self.clips[which])
        return self._tracks[key]

    def _sampled(self, clip: Clip) -> F64:
        source, rate = ClipReference(clip, self.manifest.order), self.manifest.rate_hz
        frame = idle_frame(self.manifest)
        rows = np.empty((max(2, int(clip.duration_s * rate)), frame.values.size))
        for k in range(len(rows)):
            source.sample(k / rate, frame)
            rows[k] = frame.values
        return rows

    def commands(self, rng: np.random.Generator, duration_s: float) -> npt.NDArray[np.float32]:
        """(ticks, 3) velocity commands within the manifest's ranges, each reached in half a second."""
        ranges = np.array(self.manifest.command_ranges)
        rate = self.manifest.rate_hz
        rows = [np.zeros((round(0.5 * rate), 3))]
        ticks = len(rows[0])
        while ticks < duration_s * rate:
            wanted = rng.uniform(ranges[:, 0], ranges[:, 1]) * (rng.random(3) < 0.7) * (rng.random() < 0.8)
            s = np.linspace(0, 1, round(BLEND_IN_S * rate))[:, None]
            rows.append((1 - s) * rows[-1][-1] + s * wanted)
            rows.append(np.tile(wanted, (round(rng.uniform(*COMMAND_S) * rate), 1)))
            ticks = sum(len(row) for row in rows)
        return np.concatenate(rows).astype(np.float32)


def _still(frame: ReferenceFrame, seconds: float, rate_hz: float) -> F64:
    return np.tile(frame.values, (max(1, round(seconds * rate_hz)), 1))


def _blend(a: ReferenceFrame, b: ReferenceFrame, seconds: float, rate_hz: float, *, smooth: bool) -> F64:
    ticks = max(1, round(seconds * rate_hz))
    out, frame = np.empty((ticks, a.values.size)), a.copy()
    for k in range(ticks):
        frame.blend(a, b, min_jerk(k / ticks) if smooth else k / ticks)
        out[k] = frame.values
    return out


class Script:
    """One episode: fills a controller's window and command tick by tick.

    Args:
        repertoire: where the motions come from.
        rng: what makes this episode its own.
        duration_s: how long it is.
    """

    def __init__(self, repertoire: Repertoire, rng: np.random.Generator, duration_s: float) -> None:
        tracker = repertoire.manifest.kind == "tracker"
        self._track = repertoire.track(rng, duration_s) if tracker else None
        self._commands = None if tracker else repertoire.commands(rng, duration_s)
        rows = self._track if self._track is not None else self._commands
        self.ticks = 0 if rows is None else len(rows)
        self.tick = 0

    @property
    def is_over(self) -> bool:
        """No tick left."""
        return self.tick >= self.ticks

    def fill(self, controller: Controller) -> None:
        """The reference and command of the present tick into a controller."""
        if self._track is not None:
            last = self.ticks - 1
            for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
                frame.values[:] = self._track[min(max(self.tick + offset, 0), last)]
        elif self._commands is not None:
            controller.inputs.command[:] = self._commands[self.tick]
        controller.inputs.step[0] = self.tick
