"""A task in plain words to atomic actions, by a small grammar: what decomposes where no model is plugged in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from export.imagine.actions import MEANT, VERBS, Action, Plan, action, read_plan
from runtime.errors import Refused

NEAR_M = 0.75
"""What is nearer needs no walk before a hand is at it."""
AT_HAND = ("reach", "sweep", "wipe", "lift", "place")
"""Verbs whose object has to be within reach."""
_CUT = re.compile(r"\s*(?:[,;.!]|\band then\b|\bthen\b|\band\b|\bafter that\b|\bfinally\b|\bfirst\b)\s*")
_HAND = re.compile(r"\b(?:with|using|by) (?:your |the |its |his |her |a |an |my )?(left|right|both) (?:hands?|arms?)\b")
_SECONDS = re.compile(r"\bfor (?:about )?(\d+(?:\.\d+)?) ?(?:s|sec|secs|second|seconds)\b")
_SMALL = re.compile(r"\b(?:please|now|slowly|quickly|carefully|gently|again|a bit|once|the|a|an|your|its|my|some)\b")
_PRONOUN = {"it", "them", "that", "this", "there", "here", "one"}
_JOINING = re.compile(r"^(?:on|onto|in|into|at|to|over|under|on top of|in front of|towards|toward|of|for|up|down)\b\s*")
_WORDS = sorted(MEANT, key=len, reverse=True)
_FORMS = {"walks": "walk", "goes": "go", "turns": "turn", "picks": "pick", "puts": "put", "sits": "sit",
          "stands": "stand", "wipes": "wipe", "lifts": "lift", "places": "place", "waves": "wave", "ducks": "duck",
          "steps": "step", "reaches": "reach", "sweeps": "sweep", "bends": "bend", "holds": "hold"}


def decompose(task: str, places: Mapping[str, tuple[float, float]]) -> Plan:
    """The actions of a task.

    Args:
        task: English, in the imperative: "walk to the table and wipe it".
        places: the scene's things and how far and where they stand, (x, y) from the one who acts, m.

    Raises:
        Refused: a clause that is none of the actions, or as `read_plan`.
    """
    clauses = [clause for clause in _CUT.split(" ".join(task.lower().split())) if clause]
    if not clauses:
        raise Refused("task", expected="what is to be done", found=repr(task), what_to_do='e.g. "walk to the table"')
    actions: list[Action] = []
    last = held = ""
    at: set[str] = {name for name, (x, y) in places.items() if (x * x + y * y) ** 0.5 <= NEAR_M}
    for clause in clauses:
        for step in _clause(clause, last, held, tuple(places)):
            if step.verb in AT_HAND and step.object in places and step.object not in at:
                actions.append(action("walk to", step.object))
                at = {step.object}
            actions.append(step)
            if step.verb in ("walk to", "go round", "duck", "step over"):
                at = {step.object}
            held = {"lift": step.object, "place": ""}.get(step.verb, held)
            last = step.object or last
    return read_plan(task, {"actions": [vars(step) for step in actions]}, tuple(places))


def _clause(clause: str, last: str, held: str, things: Sequence[str]) -> list[Action]:
    """The actions of one clause; `last` is what was spoken of, `held` what the hands hold."""
    text, hand, seconds = clause, "", None
    if match := _HAND.search(text):
        hand, text = match[1], text.replace(match[0], " ")
    if match := _SECONDS.search(text):
        seconds, text = float(match[1]), text.replace(match[0], " ")
    words = [_FORMS.get(word, word) for word in _SMALL.sub(" ", text).split()]
    text = " ".join(words)
    word = next((word for word in _WORDS if text == word or text.startswith(word + " ")), None)
    if word is None:
        word, text = _split_verb(words, clause)
    rest = text[len(word):].strip()
    verb = MEANT[word]
    if verb.name == "place":
        rest = _target(rest, held)
    thing = _thing(rest, last if verb.name != "place" or not held else held, things)
    if verb.name == "place" and thing == held:
        thing = ""
    return [action(word, "" if verb.object == "none" else thing, hand if hand in verb.hands else "", seconds)]


def _split_verb(words: list[str], clause: str) -> tuple[str, str]:
    """A verb in two parts round its object: "pick the box up", "put it down", "sweep the bottle aside"."""
    for word in _WORDS:
        first, _, second = word.partition(" ")
        if second and words and words[0] == first and second in words[1:]:
            return word, " ".join([word, *(other for other in words[1:] if other != second)])
    raise Refused("task", expected=f"one of {', '.join(verb.name for verb in VERBS)}", found=f"{clause!r}",
                  what_to_do="say it in these words, or plug in a language model (docs/imagine.md)")


def _target(rest: str, held: str) -> str:
    """Of "the box in the basket": the basket; of "it on the table": the table."""
    for joint in (" on top of ", " onto ", " into ", " on ", " in ", " at "):
        before, found, after = f" {rest} ".partition(joint)
        if found and (not before.strip() or before.strip() in _PRONOUN or held or before.strip()):
            return after.strip()
    return rest


def _thing(rest: str, last: str, things: Sequence[str]) -> str:
    """An object's name; a pronoun stands for what was spoken of."""
    text = rest
    while (shorter := _JOINING.sub("", text)) != text:
        text = shorter
    if text in _PRONOUN or not text:
        return last if text else ""
    whole = [name for name in things if re.search(rf"\b{re.escape(name)}\b", text)]
    return max(whole, key=len) if whole else text
