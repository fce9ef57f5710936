"""Tasks in words, and what models write, to atomic actions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.imagine.actions import HANDS, MOST_ACTIONS, VERBS, read_plan, schema
from export.imagine.grammar import decompose
from export.imagine.prompt import SYSTEM, video_prompts
from export.imagine.props import furnish, known_things
from runtime.errors import Refused

PLACES = {"table": (1.5, 0.0), "bottle": (1.6, 0.2), "box": (1.2, 0.0), "basket": (1.2, 0.8), "chair": (1.0, 0.0),
          "bar": (1.0, 0.0), "cup": (0.4, 0.1)}
TASKS = {
    "walk to the table and wipe it": [("walk to", "table"), ("wipe", "table")],
    "Pick up the box and put it in the basket.": [("walk to", "box"), ("lift", "box"), ("walk to", "basket"),
                                                  ("place", "basket")],
    "pick the box up, then turn around and set it down": [("walk to", "box"), ("lift", "box"), ("turn around", ""),
                                                          ("place", "")],
    "sit down on the chair then stand up": [("sit down", "chair"), ("stand up", "")],
    "duck under the bar": [("duck", "bar")],
    "step over the bar": [("step over", "bar")],
    "walk around the chair, then wave": [("go round", "chair"), ("wave", "")],
    "reach for the cup": [("reach", "cup")],
    "lift the brown box and stand up": [("walk to", "box"), ("lift", "box"), ("stand up", "")],
    "turn left and walk to the bottle": [("turn left", ""), ("walk to", "bottle")],
}


def verbs(plan: Any) -> list[tuple[str, str]]:
    """Verb and object of each action."""
    return [(step.verb, step.object) for step in plan.actions]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_in_words_becomes_actions(task: str) -> None:
    assert verbs(decompose(task, PLACES)) == TASKS[task]


def test_hands_and_seconds_are_heard() -> None:
    sweep, hold = decompose("sweep the cup aside with your left hand and wait for 3 seconds", PLACES).actions
    assert sweep.hand == "left" and hold.duration_s == 3


def test_what_is_within_reach_needs_no_walk() -> None:
    assert verbs(decompose("wipe the table", {"table": (0.5, 0.0)})) == [("wipe", "table")]


@pytest.mark.parametrize("task", ["", " , and ", "fly to the moon", "wipe", "walk to the"])
def test_words_that_are_no_task_are_refused(task: str) -> None:
    with pytest.raises(Refused):
        decompose(task, PLACES)


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_any_words_become_a_plan_or_a_refusal(task: str) -> None:
    try:
        plan = decompose(task, PLACES)
    except Refused:
        return
    assert 1 <= len(plan.actions) <= MOST_ACTIONS


def answer(**row: Any) -> dict[str, Any]:
    """A model's answer of one action."""
    return {"actions": [{"verb": "wipe", "object": "table", "hand": "right", "duration_s": 6, "end_state": "clean",
                         **row}]}


def test_a_good_answer_needs_no_mending() -> None:
    plan = read_plan("t", answer(), ["table"])
    assert plan.repairs == () and plan.actions[0].end_state == "clean"
    assert read_plan("t", json.loads(json.dumps(plan.as_json()))).actions == plan.actions


@pytest.mark.parametrize(("row", "field", "value"), [
    ({"verb": "Clean"}, "verb", "wipe"), ({"verb": "wipe_down"}, "verb", "wipe"),
    ({"duration_s": 900}, "duration_s", 15.0), ({"duration_s": 0}, "duration_s", 3.0),
    ({"object": "the wooden table"}, "object", "table"), ({"hand": "none"}, "hand", "right"),
    ({"verb": "stand up"}, "object", ""), ({"end_state": "x" * 999}, "end_state", "x" * 200),
])
def test_small_faults_are_mended_and_said(row: dict[str, Any], field: str, value: Any) -> None:
    plan = read_plan("t", answer(**row), ["table", "chair"])
    assert getattr(plan.actions[0], field) == value and plan.repairs


@pytest.mark.parametrize("row", [
    {"verb": "fly"}, {"verb": None}, {"verb": 3}, {"object": "spaceship"}, {"object": ""}, {"object": 5},
    {"hand": "third"}, {"duration_s": "long"}, {"duration_s": float("nan")}, {"duration_s": True}, {"end_state": 1},
])
def test_large_faults_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        read_plan("t", answer(**row), ["table", "chair"])


@pytest.mark.parametrize("data", [None, {}, [], {"actions": []}, {"actions": "wipe"}, {"actions": [1]},
                                  {"actions": answer()["actions"] * (MOST_ACTIONS + 1)}])
def test_what_is_no_list_of_actions_is_refused(data: Any) -> None:
    with pytest.raises(Refused):
        read_plan("t", data)


def test_the_schema_is_what_strict_answers_need() -> None:
    item = schema()["properties"]["actions"]["items"]
    assert set(item["required"]) == set(item["properties"]) and item["additionalProperties"] is False
    assert item["properties"]["verb"]["enum"] == [verb.name for verb in VERBS]
    assert item["properties"]["hand"]["enum"] == list(HANDS)


def test_no_word_means_two_verbs() -> None:
    words = [word for verb in VERBS for word in (verb.name, *verb.synonyms)]
    assert len(words) == len(set(words)) and all(verb.summary in SYSTEM for verb in VERBS)


def test_prompts_have_five_sections_and_begin_where_the_last_ended() -> None:
    first, second = video_prompts(decompose("walk to the table and wipe it", PLACES), list(PLACES))
    for prompt in (first, second):
        titles = [line.partition(":")[0] for line in prompt.text.splitlines()]
        assert titles == ["Shot", "Scene", "Motion", "Execution", "End State"]
    assert "stands in front of the table" in second.scene and "fixed" in first.shot


def test_what_a_task_names_is_put_where_it_can_be_reached() -> None:
    scene = furnish("pick up the box and put it in the basket", 1)
    things = {thing.name: thing for thing in scene.things}
    assert set(things) == {"stand", "box", "basket"} and things["box"].mass_kg
    below = things["stand"].position_m[2] + things["stand"].size_m[-1] / 2
    assert things["box"].position_m[2] - things["box"].size_m[-1] / 2 == pytest.approx(below, abs=0.01)
    assert furnish("wave", 1).things == () and "table" in known_things()
    assert furnish("sit on the chair then stand up", 1) == furnish("sit on the chair then stand up", 1)
