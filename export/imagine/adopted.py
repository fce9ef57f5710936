"""Estimators' own result files, put into a run's folder by hand: read as any motion, kept beside what came of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from export.imagine.estimation import motion_name
from export.motion.content import PICKLED, ReadOptions, read_content
from export.motion.formats import read_motion, recognised
from export.motion.hands import with_hands
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, save_human_motion

HANDS = ".hands"
"""Before the ending of a file of hand tracks: `01.hands.pkl` goes with the motion of `01.pt`."""
ORIGINALS = "from"
ENDINGS = (".npz", ".npy", *PICKLED, ".bvh")


def adopt(folder: Path) -> list[str]:
    """Turns a person's files into `01.npz`, `02.npz`, ... of our form; what was assumed, a sentence each.

    Files are taken in the order of their names, one an action, whatever program wrote them. What is ours stays as it
    is; anything else moves to the folder `from`.

    Raises:
        Refused: no motion that can be read; a robot's motion; hands that go with none.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in ENDINGS
             and not path.name.endswith(".seen.npy")]
    hands = {path.name.partition(HANDS)[0]: path for path in files if Path(path.stem).suffix == HANDS}
    motions = [path for path in files if path not in hands.values()]
    lonely = sorted(set(hands) - {path.stem for path in motions})
    if lonely:
        raise Refused("hand tracks", expected=f"motions beside them, as in {', '.join(path.stem for path in motions)}",
                      found=", ".join(hands[name].name for name in lonely), what_to_do="name them as their motions")
    notes = []
    for i, path in enumerate(motions):
        beside, name = hands.get(path.stem), motion_name(i)
        if beside is None and path.name == name and recognised(read_content(path)) == ["human"]:
            continue
        motion = _read(path, beside)
        for used in (path, *([] if beside is None else [beside])):
            (folder / ORIGINALS).mkdir(exist_ok=True)
            shutil.move(used, folder / ORIGINALS / used.name)
        save_human_motion(folder / name, motion)
        notes += [f"{path.name}: {note}" for note in motion.notes]
    return notes


def _read(path: Path, hands: Path | None) -> HumanMotion:
    motion = read_motion(path, None, ReadOptions())
    if not isinstance(motion, HumanMotion):
        raise Refused(f"motion {path.name}", expected="a human's motion", found="a robot's",
                      what_to_do="put clips of a robot into a chain by hand (docs/chains.md)")
    return motion if hands is None else with_hands(motion, hands)
