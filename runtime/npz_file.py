"""An npz file of plain arrays, read without trust: no pickles, no bombs, one kind of refusal."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

MAX_BYTES = 256 << 20


def read_npz(path: Path, what: str) -> dict[str, npt.NDArray[Any]]:
    """Every array of a file.

    Args:
        what: names the file in refusals.

    Raises:
        Refused: too large, packed or unpacked; pickled objects; damaged.
    """
    if path.stat().st_size > MAX_BYTES:
        raise Refused(what, expected=f"at most {MAX_BYTES >> 20} MiB", found=f"{path.stat().st_size >> 20} MiB",
                      what_to_do="cut the motion into shorter clips")
    try:
        raw = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                raise Refused(what, expected=f"at most {MAX_BYTES >> 20} MiB unpacked",
                              found=f"{size >> 20} MiB", what_to_do="cut the motion into shorter clips")
        with np.load(io.BytesIO(raw), allow_pickle=False) as npz:
            return {key: npz[key] for key in npz.files}
    except Refused:
        raise
    except ValueError as error:
        pickled = "allow_pickle" in str(error) or "Object arrays" in str(error)
        raise Refused(
            what,
            expected="an npz of plain arrays",
            found="pickled objects" if pickled else str(error),
            what_to_do="pickles can run code and are never loaded here: convert the motion offline to plain arrays"
            if pickled else "write the file again",
        ) from error
    except Exception as error:  # zipfile and numpy raise a dozen types on damaged archives
        raise Refused(what, expected="an intact npz archive", found=f"{type(error).__name__}: {error}",
                      what_to_do="the file is damaged, cut short or no npz: copy or export it again") from error
