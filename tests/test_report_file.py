"""A run's report is whole or not there."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from runtime.report_file import NAME, write_report


def test_a_full_disk_leaves_the_report_before_and_no_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(tmp_path, {"outcome": "done"})

    def cut(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text.encode(encoding)[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", cut)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path, {"outcome": "fault"})
    assert json.loads((tmp_path / NAME).read_bytes()) == {"outcome": "done"}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
