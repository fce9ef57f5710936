"""The stage that sees, by our own estimator: for films of our own mannequin, the only person it knows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from export.imagine.estimation import motion_name, motions_in, refuse_broken
from export.imagine.film import EMBEDDED, FilmStage, videos_in
from export.imagine.motion_estimator.bundle import SHIPPED, open_motion_estimator
from export.imagine.motion_estimator.pinhole import Pinhole
from export.imagine.motion_estimator.settling import camera_and_body, settle
from export.imagine.motion_estimator.sight import Seen
from export.imagine.run_folder import RunFolder
from export.imagine.stage import Work
from export.motion.human_checks import check_human_motion
from export.motion.video import video_fps, video_frames
from runtime.bundle import LISTING
from runtime.errors import Refused
from runtime.human_motion import save_human_motion

MOST_FRAMES = 1500
"""Of a video, a minute: all of its frames are settled at once."""


class OwnEstimateStage:
    """Our own estimator.

    Args:
        bundle: of the estimator; None: the one that ships.
    """

    name, needs, file, provider = "estimate", ("film",), motion_name(0), EMBEDDED

    def __init__(self, bundle: Path | None = None) -> None:
        self._folder = SHIPPED if bundle is None else bundle
        self.version = "mannequin 2" if (self._folder / LISTING).is_file() else ""

    def settings(self) -> Any:
        """The list of the bundle's files, by their hashes."""
        listing = self._folder / LISTING
        return [EMBEDDED, listing.read_text("utf-8") if listing.is_file() else ""]

    def check(self, folder: Path) -> None:
        """Motions in which nothing is broken."""
        for i, motion in enumerate(motions_in(folder)):
            refuse_broken(motion_name(i), check_human_motion(motion))

    def work(self, work: Work) -> None:
        """Looks at all videos, then settles each; the camera and the body are the same in all of them."""
        fovy_rad = own_lens(work.run)
        opened = open_motion_estimator(self._folder)
        videos, rates = videos_in(work.run.of("film")), []
        seen: list[list[Seen]] = []
        for i, video in enumerate(videos):
            work.say(f"  looking at video {i + 1} of {len(videos)}")
            rates.append(video_fps(video))
            row: list[Seen] = []
            for image in video_frames(video):
                if len(row) == MOST_FRAMES:
                    raise Refused(f"video {video.name}", expected=f"at most {MOST_FRAMES} frames", found="more",
                                  what_to_do="take shorter actions")
                row.append(opened.sight.look(image, Pinhole(image.shape[1], image.shape[0], fovy_rad)))
            seen.append(row)
        down, shape = camera_and_body(seen)
        for i, (rate, row) in enumerate(zip(rates, seen, strict=True)):
            settled = settle(motion_name(i), rate, row, down, shape)
            save_human_motion(work.out / motion_name(i), settled.motion)
            if settled.pitch_bias_rad is not None:
                work.notes.append(f"{motion_name(i)}: who stands leans {math.degrees(settled.pitch_bias_rad):+.1f} deg "
                                  f"forwards, {'taken out' if settled.is_corrected else 'left as it is: too much'}")
        work.facts["down_deg"] = round(math.degrees(down), 2)


def own_lens(run: RunFolder) -> float:
    """The opening angle of the camera of a run's own film, rad.

    Raises:
        Refused: videos that somebody else made.
    """
    row = run.row(FilmStage.name)
    fovy = row.facts.get("fovy_rad")
    if row.provider != EMBEDDED or not isinstance(fovy, float):
        raise Refused("estimate", expected="videos of our own film stage: our estimator knows nobody but our "
                      "mannequin",
                      found=f"videos by {row.provider or 'nobody'}",
                      what_to_do="name a program that estimates real people (GVHMR, GEM, WHAM) under `estimate` of the "
                      "providers file, or put its results there with --replace estimate=PATH")
    return fovy
