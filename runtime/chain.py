"""A chain of actions: clips one after the other in a JSON file, stitched into one motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.hand_bus import LEFT, RIGHT
from runtime.clip import Clip, find_clip, is_file, load_clip
from runtime.errors import Refused
from runtime.hand_track import HandEvent, with_events
from runtime.human_motion import HAND_STATES
from runtime.reader import Reader, parse_json
from runtime.resample import at_rate
from runtime.robot import Robot
from runtime.stitch import BLEND_S, RATE_HZ, Seam, part
from runtime.tape import Tape

FORMAT = "exoactor-chain/1"
CHAINS = Path(__file__).with_name("chains")
MOST_ACTIONS, MOST_REPEATS = 200, 100
MOST_BYTES = 1 << 20
LONGEST_S = 3600.0
_KEYS, _ACTION = {"format", "actions", "done"}, {"clip", "repeats", "start_s", "end_s", "blend_s", "hands"}
_EVENT = {"hand", "state", "at_s"}
_HANDS = {"left": (LEFT,), "right": (RIGHT,), "both": (LEFT, RIGHT)}


@dataclass(frozen=True)
class Action:
    """One entry.

    Attributes:
        clip: file, found from the chain's folder, or a shipped clip's name.
        repeats: how many times in a row.
        start_s, end_s: the part to take; None: from the beginning, to the end.
        blend_s: of the seam before it; None: as short as the robot's limits allow.
        hands: what hands are told, times from the part's beginning, instead of what the clip has for those hands.
    """

    clip: Path
    repeats: int = 1
    start_s: float | None = None
    end_s: float | None = None
    blend_s: float | None = None
    hands: tuple[HandEvent, ...] = ()

    @property
    def blends_s(self) -> tuple[float, ...]:
        """The lengths that may be tried for the seam before it."""
        return BLEND_S if self.blend_s is None else (self.blend_s,)


@dataclass(frozen=True)
class Chain:
    """A chain's file.

    Attributes:
        actions: in their order.
        entries: the same as they stand in the file.
        is_done: nothing will be appended any more.
    """

    actions: tuple[Action, ...]
    entries: tuple[dict[str, Any], ...]
    is_done: bool = False


def chain_names() -> list[str]:
    """The chains that ship with the runtime."""
    return sorted(path.stem for path in CHAINS.glob("*.json"))


def find_chain(name_or_path: str) -> Path:
    """A file, or a shipped chain by its name."""
    shipped = CHAINS / f"{name_or_path}.json"
    return shipped if not is_file(Path(name_or_path)) and is_file(shipped) else Path(name_or_path)


def read_chain(path: Path) -> Chain:
    """What a chain's file says.

    Raises:
        Refused: no such file, too large, no strict JSON, unknown keys, values out of range.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
    except (OSError, ValueError):
        data = None
    if data is None:
        raise Refused("chain", expected=f"a .json file of at most {MOST_BYTES >> 20} MiB, or one of "
                      f"{', '.join(chain_names())}", found=f"none at {str(path)[:200]}", what_to_do="check the path")
    return parse_chain(data, path)


def parse_chain(text: bytes, path: Path) -> Chain:
    """What the text of the file at `path` says; refuses as `read_chain`."""
    reader = Reader(f"chain {path.name}", "see docs/chains.md for the format")
    data = parse_json(text, reader)
    reader.keys("file", data, _KEYS, {"format", "actions"})
    reader.one_of("format", data["format"], (FORMAT,))
    rows = reader.listed("actions", data["actions"])
    if len(rows) > MOST_ACTIONS:
        raise reader.refuse("actions", f"at most {MOST_ACTIONS}", len(rows))
    is_done = reader.flag("done", data.get("done", False))
    return Chain(tuple(_action(reader, f"actions[{i}]", row, path.parent) for i, row in enumerate(rows)), tuple(rows),
                 is_done)


def _action(reader: Reader, key: str, row: object, folder: Path) -> Action:
    reader.keys(key, row, _ACTION, {"clip"})
    assert isinstance(row, dict)
    name = reader.text(f"{key}.clip", row["clip"])
    beside = folder / name
    repeats = row.get("repeats", 1)
    reader.whole(f"{key}.repeats", repeats, 1, MOST_REPEATS)
    start, end, blend = (
        reader.number(f"{key}.{name}", row[name], low, high) if name in row else None
        for name, low, high in (("start_s", 0, LONGEST_S), ("end_s", 0, LONGEST_S), ("blend_s", 0.1, 2)))
    if end is not None and end <= (start or 0):
        raise reader.refuse(f"{key}.end_s", f"after start_s ({start or 0:g})", end)
    hands = tuple(event for i, row in enumerate(reader.listed(f"{key}.hands", row["hands"]) if "hands" in row else ())
                  for event in _events(reader, f"{key}.hands[{i}]", row))
    return Action(beside if is_file(beside) else find_clip(name), repeats, start, end, blend, hands)


def _events(reader: Reader, key: str, row: object) -> list[HandEvent]:
    reader.keys(key, row, _EVENT, _EVENT)
    assert isinstance(row, dict)
    sides = _HANDS[reader.one_of(f"{key}.hand", row["hand"], tuple(_HANDS))]
    state = HAND_STATES.index(reader.one_of(f"{key}.state", row["state"], HAND_STATES))
    at_s = reader.number(f"{key}.at_s", row["at_s"], 0, LONGEST_S)
    return [HandEvent(at_s, side, state) for side in sides]


def action_clip(action: Action, what: str, robot: Robot) -> Clip:
    """The part of its clip that an action plays.

    Raises:
        Refused: as `load_clip`; a part without frames; a hand that is told something after it.
    """
    clip = load_clip(action.clip, robot)
    start = round((action.start_s or 0) * clip.fps)
    stop = None if action.end_s is None else round(action.end_s * clip.fps) + 1
    if len(clip.joint_pos[start:stop]) < 3:
        raise Refused(what, expected=f"a part of {clip.name} ({clip.duration_s:.2f} s)",
                      found=f"{action.start_s} to {action.end_s} s", what_to_do="take a part that is there")
    clip = part(clip, start, stop)
    if action.hands and max(action.hands).time_s > clip.duration_s:
        raise Refused(f"{what}.hands", expected=f"at_s within the part's {clip.duration_s:.2f} s",
                      found=f"{max(action.hands).time_s:g} s", what_to_do="tell it earlier, or take a longer part")
    return with_events(at_rate(clip, RATE_HZ), action.hands) if action.hands else clip  # an event falls on its frame


def chain_clip(path: Path, robot: Robot) -> tuple[Clip, list[Seam]]:
    """A chain as one clip, and its seams.

    Raises:
        Refused: as `read_chain`, `action_clip` and `Tape.append`.
    """
    tape = Tape(robot, LONGEST_S)
    for number, action in enumerate(read_chain(path).actions):
        clip = action_clip(action, f"chain {path.name}, actions[{number}]", robot)
        for _ in range(action.repeats):
            tape.append(clip, action.blends_s)
    return tape.clip(path.name), tape.seams


def load_motion(name_or_path: str, robot: Robot) -> Clip:
    """What a run is to play: a clip, or a chain stitched into one; either may be a shipped one's name.

    Raises:
        Refused: as `load_clip` and `chain_clip`.
    """
    path = find_chain(name_or_path)
    if path.suffix == ".json":
        return chain_clip(path, robot)[0]
    return load_clip(name_or_path, robot)
