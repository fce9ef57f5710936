"""A chain of actions: clips one after the other in a JSON file, stitched into one motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.hand_bus import LEFT, RIGHT
from runtime.clip import Clip, find_clip, is_file, load_clip
from runtime.errors import Refused
from runtime.hand_track import HandEvent, with_events
from runtime.human_motion import HAND_STATES
from runtime.reader import Reader, parse_json
from runtime.robot import Robot
from runtime.stitch import RATE_HZ, Seam, at_rate, part, stitch

FORMAT = "exoactor-chain/1"
CHAINS = Path(__file__).with_name("chains")
MOST_ACTIONS, MOST_REPEATS = 200, 100
MOST_BYTES = 1 << 20
LONGEST_S = 3600.0
_KEYS, _ACTION = {"format", "actions"}, {"clip", "repeats", "start_s", "end_s", "blend_s", "hands"}
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


def chain_names() -> list[str]:
    """The chains that ship with the runtime."""
    return sorted(path.stem for path in CHAINS.glob("*.json"))


def find_chain(name_or_path: str) -> Path:
    """A file, or a shipped chain by its name."""
    shipped = CHAINS / f"{name_or_path}.json"
    return shipped if not is_file(Path(name_or_path)) and is_file(shipped) else Path(name_or_path)


def read_chain(path: Path) -> tuple[Action, ...]:
    """The actions of a chain's file.

    Raises:
        Refused: no such file, too large, no strict JSON, unknown keys, values out of range.
    """
    if not is_file(path) or path.stat().st_size > MOST_BYTES:
        raise Refused("chain", expected=f"a .json file of at most {MOST_BYTES >> 20} MiB, or one of "
                      f"{', '.join(chain_names())}", found=f"none at {path}", what_to_do="check the path")
    reader = Reader(f"chain {path.name}", "see docs/chains.md for the format")
    data = parse_json(path.read_bytes(), reader)
    reader.keys("file", data, _KEYS, _KEYS)
    reader.one_of("format", data["format"], (FORMAT,))
    rows = reader.listed("actions", data["actions"])
    if len(rows) > MOST_ACTIONS:
        raise reader.refuse("actions", f"at most {MOST_ACTIONS}", len(rows))
    return tuple(_action(reader, f"actions[{i}]", row, path.parent) for i, row in enumerate(rows))


def _action(reader: Reader, key: str, row: object, folder: Path) -> Action:
    reader.keys(key, row, _ACTION, {"clip"})
    assert isinstance(row, dict)
    name = reader.text(f"{key}.clip", row["clip"])
    beside = folder / name
    repeats = row.get("repeats", 1)
    reader.whole(f"{key}.repeats", repeats, 1, MOST_REPEATS)
    start, end, blend = (
        None if row.get(name) is None else reader.number(f"{key}.{name}", row[name], low, high)
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


def chain_clip(path: Path, robot: Robot) -> tuple[Clip, list[Seam]]:
    """A chain as one clip, and its seams.

    Raises:
        Refused: as `read_chain`, `load_clip` and `stitch`; a part without frames; longer than an hour.
    """
    joined: Clip | None = None
    seams: list[Seam] = []
    for number, action in enumerate(read_chain(path)):
        clip = load_clip(action.clip, robot)
        start = round((action.start_s or 0) * clip.fps)
        stop = None if action.end_s is None else round(action.end_s * clip.fps) + 1
        if len(clip.joint_pos[start:stop]) < 3:
            raise Refused(f"chain {path.name}, actions[{number}]", expected=f"a part of {clip.name} "
                          f"({clip.duration_s:.2f} s)", found=f"{action.start_s} to {action.end_s} s",
                          what_to_do="take a part that is there")
        clip = _with_hands(part(clip, start, stop), action, f"chain {path.name}, actions[{number}]")
        for _ in range(action.repeats):
            if joined is None:
                joined = clip
                continue
            joined, seam = stitch(joined, clip, robot, action.blend_s)
            seams.append(seam)
            if joined.duration_s > LONGEST_S:
                raise Refused(f"chain {path.name}", expected=f"at most {LONGEST_S:g} s", found="more",
                              what_to_do="repeat less")
    assert joined is not None
    return joined, seams


def _with_hands(clip: Clip, action: Action, what: str) -> Clip:
    """The part with what its hands are told, at the rate at which seams are made: an event falls on its frame."""
    if not action.hands:
        return clip
    last = max(action.hands)
    if last.time_s > clip.duration_s:
        raise Refused(f"{what}.hands", expected=f"at_s within the part's {clip.duration_s:.2f} s",
                      found=f"{last.time_s:g} s", what_to_do="tell the hands earlier, or take a longer part")
    return with_events(at_rate(clip, RATE_HZ), action.hands)


def load_motion(name_or_path: str, robot: Robot) -> Clip:
    """What a run is to play: a clip, or a chain stitched into one; either may be a shipped one's name.

    Raises:
        Refused: as `load_clip` and `chain_clip`.
    """
    path = find_chain(name_or_path)
    if path.suffix == ".json":
        return chain_clip(path, robot)[0]
    return load_clip(name_or_path, robot)
