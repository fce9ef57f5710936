"""MP4 of a motion where PyAV is there, and the GIF that stands in for it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

import exoactor
from export.motion import show, show_command, video
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, make_human_motion, save_human_motion


def films() -> list[np.ndarray]:
    """A grey picture whose left half brightens, of odd sides."""
    out = []
    for level in np.linspace(20, 220, 12):
        frame = np.full((65, 97, 3), 100, np.uint8)
        frame[:, :48] = int(level)
        out.append(frame)
    return out


def test_a_film_comes_back_with_its_pictures_and_its_clock(tmp_path):
    av = pytest.importorskip("av", reason="missing dependency: av")
    video.save_mp4(tmp_path / "a.mp4", films(), 15.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 15 and (stream.width, stream.height) == (96, 64)
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(read) == 12
    for before, after in zip(films(), read, strict=True):
        assert abs(int(after[30, 20].mean()) - int(before[30, 20].mean())) < 12
        assert abs(int(after[30, 80].mean()) - 100) < 12


def test_pictures_of_different_sizes_are_refused(tmp_path):
    pytest.importorskip("av", reason="missing dependency: av")
    with pytest.raises(Refused, match="one shape"):
        video.save_mp4(tmp_path / "a.mp4", [films()[0], films()[1][:-2]], 15.0)


@pytest.mark.parametrize("has_av", [True, False])
def test_show_writes_an_mp4_where_it_can_and_else_says_why_it_is_a_gif(has_av, tmp_path, capsys, monkeypatch):
    if has_av:
        pytest.importorskip("av", reason="missing dependency: av")
    else:
        monkeypatch.setattr(show, "load_av", lambda: None)
        monkeypatch.setattr(show_command, "load_av", lambda: None)
    local = np.zeros((30, len(HUMAN_JOINTS), 4))
    local[..., 0] = 1
    save_human_motion(tmp_path / "h.npz", make_human_motion("stands", 30.0, local, np.zeros((30, 3))))
    out = tmp_path / "out"
    assert exoactor.main(["motion", "show", str(tmp_path / "h.npz"), "--out", str(out), "--size", "96x64"]) == 0
    film = "motion.mp4" if has_av else "motion.gif"
    assert sorted(path.name for path in out.iterdir()) == ["index.html", film, "sheet.png"]
    assert f'src="{film}"' in (out / "index.html").read_text("utf-8")
    assert ("exoactor[show]" in capsys.readouterr().out) is not has_av
