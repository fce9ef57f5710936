"""The atomic actions that a task is taken apart into: what there are, how they are written, how bad ones are mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import Refused

FORMAT = "exoactor-plan/1"
HANDS = ("left", "right", "both", "none")
MOST_ACTIONS = 12
MOST_TEXT = 200


@dataclass(frozen=True)
class Verb:
    """One kind of action.

    Attributes:
        name: as plans write it. summary: for people and for the model that decomposes.
        object: "needed", "maybe" or "none". hands: what may be asked for, the first when nothing is.
        seconds: shortest, usual, longest. end_state: what is true afterwards, {object} filled in.
        synonyms: other words for it, as people and models write them.
    """

    name: str
    summary: str
    object: str
    hands: tuple[str, ...]
    seconds: tuple[float, float, float]
    end_state: str
    synonyms: tuple[str, ...] = ()


_ANY, _ONE, _NONE = ("right", "left", "both"), ("right", "left"), ("none",)
VERBS: tuple[Verb, ...] = (
    Verb("walk to", "walks up to an object and stops in front of it", "needed", _NONE, (2, 6, 20),
         "stands in front of the {object}", ("walk", "go to", "walk over to", "walk towards", "walk up to", "approach",
                                             "move to", "go over to", "head to", "step up to")),
    Verb("go round", "walks round an object to the place behind it", "needed", _NONE, (3, 8, 20),
         "stands behind the {object}", ("go around", "walk around", "walk round", "circle")),
    Verb("turn left", "turns on the spot by a quarter to its left", "none", _NONE, (1, 3, 8), "faces to its left",
         ("turn to the left", "face left")),
    Verb("turn right", "turns on the spot by a quarter to its right", "none", _NONE, (1, 3, 8), "faces to its right",
         ("turn to the right", "face right")),
    Verb("turn around", "turns on the spot by half a turn", "none", _NONE, (2, 5, 10), "faces back",
         ("turn back", "turn round", "face back")),
    Verb("step over", "steps over an object on the floor", "needed", _NONE, (2, 4, 8), "stands beyond the {object}",
         ("climb over", "stride over")),
    Verb("duck", "walks bent under an object", "needed", _NONE, (3, 6, 12), "stands upright beyond the {object}",
         ("duck under", "bend under", "walk under", "go under", "crouch under")),
    Verb("reach", "stretches an arm towards an object", "maybe", _ONE, (1, 2.5, 6), "a hand is at the {object}",
         ("reach for", "reach to", "touch", "point at", "point to", "extend arm to")),
    Verb("sweep", "pushes an object aside with an arm", "needed", _ONE, (2, 4, 8), "the {object} lies aside",
         ("sweep aside", "push aside", "knock over", "push away", "brush aside")),
    Verb("wipe", "wipes the surface of an object with a hand", "needed", _ONE, (3, 7, 15),
         "the {object} is wiped, arms hang", ("wipe down", "clean", "polish", "rub")),
    Verb("sit down", "sits down on the object behind", "maybe", _NONE, (2, 4, 8), "sits on the {object}",
         ("sit", "sit on", "sit down on", "take a seat", "take a seat on")),
    Verb("stand up", "rises and stands upright", "none", _NONE, (1, 3, 8), "stands upright",
         ("stand", "stand upright", "get up", "rise", "straighten up")),
    Verb("bend", "bends forwards", "none", _NONE, (1, 2.5, 6), "is bent forwards",
         ("bend down", "bend over", "bow", "lean forward", "stoop")),
    Verb("lift", "takes an object with both hands and stands with it", "needed", ("both",), (3, 6, 12),
         "stands holding the {object}", ("pick up", "lift up", "take", "grasp", "grab", "pick", "raise", "hold up")),
    Verb("place", "puts what it holds onto an object", "maybe", ("both",), (2, 4, 8),
         "hands are empty, what was held is on the {object}",
         ("put", "put down", "set down", "drop", "place down", "put on", "put in", "put into", "place on", "place in",
          "place into", "lay down", "release")),
    Verb("wave", "waves with a raised arm", "maybe", _ONE, (2, 5, 10), "arms hang",
         ("wave at", "wave to", "greet", "say hello", "say hello to", "wave hello")),
    Verb("hold", "stands still", "none", _NONE, (0.5, 2, 20), "stands still",
         ("wait", "stay", "stand still", "pause", "hold still")),
)
BY_NAME = {verb.name: verb for verb in VERBS}
MEANT = {word: verb for verb in VERBS for word in (verb.name, *verb.synonyms)}
"""A verb by any of its words."""


@dataclass(frozen=True)
class Action:
    """One atomic action.

    Attributes:
        verb: a name of VERBS. object: as the scene calls it, "" for none. hand: one of HANDS.
        duration_s: about how long. end_state: a sentence that is true afterwards.
    """

    verb: str
    object: str
    hand: str
    duration_s: float
    end_state: str


@dataclass(frozen=True)
class Plan:
    """A task and its actions in order; `repairs` says what had to be mended, a sentence each."""

    task: str
    actions: tuple[Action, ...]
    repairs: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `read_plan` reads."""
        return {"format": FORMAT, **asdict(self)}


def action(word: str, thing: str = "", hand: str = "", seconds: float | None = None) -> Action:
    """An action of a verb's word, with what is usual where nothing is said.

    Raises:
        KeyError: no such word.
    """
    verb = MEANT[word]
    return Action(verb.name, thing, hand or verb.hands[0], verb.seconds[1] if seconds is None else seconds,
                  verb.end_state.format(object=thing or "place"))


def schema() -> dict[str, Any]:
    """The JSON schema of an answer, in the part of the language that structured outputs take."""
    text = {"type": "string"}
    row = {"verb": {"type": "string", "enum": [verb.name for verb in VERBS]}, "object": text,
           "hand": {"type": "string", "enum": list(HANDS)}, "duration_s": {"type": "number"}, "end_state": text}
    item = {"type": "object", "properties": row, "required": list(row), "additionalProperties": False}
    return {"type": "object", "properties": {"actions": {"type": "array", "items": item}}, "required": ["actions"],
            "additionalProperties": False}


def read_plan(task: str, data: Any, things: Sequence[str] = ()) -> Plan:
    """A checked plan of what a model, a grammar or a person wrote; small faults are mended and said.

    Args:
        data: {"actions": [...]}, or the list itself.
        things: what the scene holds; empty: not known, every object is believed.

    Raises:
        Refused: no list, empty or too long; a verb that is none; an object that is missing or not in the scene; a
            field of another type.
    """
    repairs: list[str] = []
    rows = data.get("actions") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_ACTIONS:
        found = f"{len(rows)}" if isinstance(rows, list) else type(rows).__name__
        raise Refused("plan", expected=f'a list "actions" of 1 to {MOST_ACTIONS}', found=found,
                      what_to_do="ask again, or say the task in fewer steps")
    actions = tuple(_read(i, row, things, repairs) for i, row in enumerate(rows))
    return Plan(task, actions, tuple(repairs))


def _read(i: int, row: Any, things: Sequence[str], repairs: list[str]) -> Action:
    what = f"action {i + 1}"
    if not isinstance(row, dict):
        raise _refused(what, "an object", type(row).__name__)
    word = row.get("verb", row.get("action"))
    verb = MEANT.get(" ".join(word.lower().replace("_", " ").split())) if isinstance(word, str) else None
    if verb is None:
        raise _refused(f"{what}, verb", f"one of {', '.join(BY_NAME)}", f"{word!r}"[:80])
    if word != verb.name:
        repairs.append(f"{what}: {word!r} is read as {verb.name!r}")
    thing = _object(what, verb, row.get("object", ""), things, repairs)
    hand = row.get("hand")
    if hand not in verb.hands:
        if hand not in (None, "", *HANDS):
            raise _refused(f"{what}, hand", f"one of {', '.join(HANDS)}", f"{hand!r}"[:80])
        if hand not in (None, ""):
            repairs.append(f"{what}: {verb.name!r} is done with {verb.hands[0]!r}, not {hand!r}")
        hand = verb.hands[0]
    return Action(verb.name, thing, hand, _seconds(what, verb, row.get("duration_s"), repairs),
                  _end(what, verb, thing, row.get("end_state"), repairs))


def _object(what: str, verb: Verb, said: Any, things: Sequence[str], repairs: list[str]) -> str:
    if said is None:
        said = ""
    if not isinstance(said, str) or len(said) > MOST_TEXT:
        raise _refused(f"{what}, object", f"a text of at most {MOST_TEXT} characters", f"{said!r}"[:80])
    thing = " ".join(said.lower().split())
    if thing in ("none", "nothing", "n/a"):
        thing = ""
    if verb.object == "none":
        if thing:
            repairs.append(f"{what}: {verb.name!r} has no object, {thing!r} is left out")
        return ""
    if not thing:
        if verb.object == "needed":
            raise _refused(f"{what}, object", f"what to {verb.name}", "nothing")
        return ""
    if not things or thing in things:
        return thing
    near = [name for name in things if name in thing.split() or set(thing.split()) & set(name.split())]
    if len(near) != 1:
        raise _refused(f"{what}, object", f"one of the scene's: {', '.join(things)}", repr(thing))
    repairs.append(f"{what}: {thing!r} is taken for the scene's {near[0]!r}")
    return near[0]


def _seconds(what: str, verb: Verb, said: Any, repairs: list[str]) -> float:
    low, usual, high = verb.seconds
    if said is None:
        return usual
    if isinstance(said, bool) or not isinstance(said, int | float) or not -1e6 < said < 1e6:
        raise _refused(f"{what}, duration_s", "a number of seconds", f"{said!r}"[:80])
    seconds = float(min(max(said, low), high))
    if seconds != said:
        repairs.append(f"{what}: {said:g} s is outside {low:g} to {high:g} s, taken as {seconds:g}")
    return seconds


def _end(what: str, verb: Verb, thing: str, said: Any, repairs: list[str]) -> str:
    usual = verb.end_state.format(object=thing or "place")
    if said is None or said == "":
        return usual
    if not isinstance(said, str):
        raise _refused(f"{what}, end_state", "a text", type(said).__name__)
    text = " ".join(said.split())
    if len(text) > MOST_TEXT:
        repairs.append(f"{what}: the end state is cut to {MOST_TEXT} characters")
    return text[:MOST_TEXT]


def _refused(what: str, expected: str, found: str) -> Refused:
    return Refused(f"plan, {what}", expected=expected, found=found, what_to_do="correct it, or ask the model again")
