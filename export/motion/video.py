"""MP4 files by PyAV, the binding of FFmpeg's libraries; its import waits until somebody asks for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

Image = npt.NDArray[np.uint8]
CODECS = ("libx264", "mpeg4")
"""The first that the installed FFmpeg has: H.264 plays in browsers; a build without its encoder has MPEG-4 Part 2."""
PIXELS = "yuv420p"
"""What players take; it needs even sides."""


def load_av() -> Any:
    """The library, or None where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError:
        return None


def save_mp4(path: Path, frames: Sequence[Image], fps: float) -> None:
    """Frames (h, w, 3) of equal shape; an odd side loses its last row or column.

    Raises:
        Refused: no library, no encoder, no frames, or of different shapes.
    """
    av = load_av()
    if av is None:
        raise Refused("mp4", expected="the av package", found="cannot import it",
                      what_to_do="install the extra: pip install 'exoactor[show]'")
    if not frames or len({frame.shape for frame in frames}) != 1 or frames[0].shape[2:] != (3,):
        raise Refused("mp4", expected="frames (h, w, 3) of one shape", found=f"{len(frames)} frames",
                      what_to_do="render them at one size")
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    height, width = (side - side % 2 for side in frames[0].shape[:2])
    if codec is None or not height or not width:
        raise Refused("mp4", expected=f"an encoder among {', '.join(CODECS)}, and two pixels a side",
                      found=f"{codec}, {width} x {height}", what_to_do="install another build of PyAV, or take the GIF")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS
        for frame in frames:
            picture = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@dataclass(frozen=True)
class VideoFacts:
    """Of a video's file: pixels, frames a second, how many frames can be decoded."""

    width: int
    height: int
    fps: float
    frames: int

    @property
    def duration_s(self) -> float:
        """How long it shows something."""
        return self.frames / self.fps


MOST_FRAMES = 36_000


def video_facts(path: Path) -> VideoFacts:
    """What a video's file holds, by decoding all of it.

    Raises:
        Refused: no library, no video, damaged, or too long.
    """
    frames, shape = 0, (0, 0)
    fps = video_fps(path)
    for frame in video_frames(path):
        frames, shape = frames + 1, frame.shape[:2]
    return VideoFacts(shape[1], shape[0], fps, frames)


def video_fps(path: Path) -> float:
    """Frames a second, as the file says; refuses as `video_facts`."""
    with _opened(path) as container:
        rate = container.streams.video[0].average_rate
    if not rate or not 1 <= float(rate) <= 1000:
        raise _no_video(path, f"a rate of {rate} frames a second")
    return float(rate)


def video_frames(path: Path) -> Iterator[Image]:
    """The frames of a file, (h, w, 3), one after the other; refuses as `video_facts`, also in the middle."""
    av, count = load_av(), 0
    with _opened(path) as container:
        try:
            for frame in container.decode(container.streams.video[0]):
                count += 1
                if count > MOST_FRAMES:
                    raise _no_video(path, f"more than {MOST_FRAMES} frames")
                yield np.asarray(frame.to_ndarray(format="rgb24"))
        except av.error.FFmpegError as error:
            raise _no_video(path, f"{error} after {count} frames") from error
    if not count:
        raise _no_video(path, "no frame")


def _opened(path: Path) -> Any:
    av = load_av()
    if av is None:
        raise Refused("video", expected="the av package", found="cannot import it",
                      what_to_do="install the extra: pip install 'exoactor[show]'")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _no_video(path, str(error)) from error
    if not container.streams.video:
        container.close()
        raise _no_video(path, "no picture in it")
    return container


def _no_video(path: Path, found: str) -> Refused:
    return Refused(f"video {path.name}", expected="a whole video file", found=found,
                   what_to_do="fetch or make the video again")
