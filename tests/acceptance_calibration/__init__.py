"""What issue 7 asks of the calibration routines, measured against hidden truths: one module a part.

A module of this folder is a part, named with hyphens for its underscores, when it has

    ASKED: dict[str, Asked]           what is asked of each of its quantities (see `figures.py`)
    def trial(seed: int, folder: Path) -> Iterator[Measured | Check]: ...

A trial draws a truth from its seed and calibrates a simulated robot that hides it, through the gate; `folder` is empty
and its own. Trials run one after the other, or in several processes (`--jobs`).
"""
