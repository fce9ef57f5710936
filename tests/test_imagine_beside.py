"""The sheet of videos beside the robot: which time of the chain is which frame of which video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exoactor import main
from export.imagine.beside import moments
from runtime.stitch import Seam


def test_a_seam_skips_the_beginning_of_its_second_clip() -> None:
    seams = [Seam("a", "b", 4.0, (0.5, 0.3), 0.3, True)]
    found = moments(7.0, seams, 8)
    assert [moment.time_s for moment in found] == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7])
    assert [moment.action for moment in found] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [moment.video_s for moment in found] == pytest.approx([0, 1, 2, 3, 0.3, 1.3, 2.3, 3.3])


def test_no_chain_is_refused_and_no_folder_made(tmp_path: Path, capsys: Any) -> None:
    assert main(["imagine", "--out", str(tmp_path / "run"), "--beside", str(tmp_path)]) == 2
    assert "come to its chain" in capsys.readouterr().err and not (tmp_path / "run").exists()
