"""Publishers' settings files with anything at all in any place: a manifest or a refusal, never another error."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml", reason="missing dependency: yaml")

from export import berkeley_yaml, deploy_yaml
from export.draft import Draft
from runtime.errors import Refused
from runtime.manifest_reader import read_manifest
from tests import publisher_files
from tests.small_biped import LEG_JOINTS

ABSENT = object()
ODD: tuple[Any, ...] = (ABSENT, None, "text", -1, [], {"a": 1}, [1, "x"], float("nan"), True, [[1, 2]])
CLOCK = "  gait_phase:\n    params: {period: 0.8}\n    clip: null\n    scale: null\n    history_length: 1\n"


def places(data: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value; of a list the first stands for all."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*before, key)
            yield from places(value, (*before, key))
    elif isinstance(data, list):
        yield (*before, 0)


def outcomes(data: dict[str, Any], draft_from: Callable[..., Draft]) -> tuple[int, int]:
    """How many of all files with one odd value became a manifest, and how many were refused."""
    read = refused = 0
    for place in places(data):
        for odd in ODD:
            changed = copy.deepcopy(data)
            parent: Any = changed
            for key in place[:-1]:
                parent = parent[key]
            if odd is ABSENT:
                del parent[place[-1]]
            else:
                parent[place[-1]] = odd
            try:
                read_manifest(Path("m.json"), draft_from(changed, "mine", None).text().encode())
                read += 1
            except Refused as error:
                assert error.expected and error.what_to_do, (place, odd)
                refused += 1
    return read, refused


@pytest.mark.parametrize("publisher", ["unitree_rl_lab", "berkeley"])
def test_an_odd_value_anywhere_is_taken_or_refused_by_name(tmp_path: Path, publisher: str) -> None:
    path = tmp_path / "source.yaml"
    if publisher == "berkeley":
        path.write_text(publisher_files.berkeley_yaml(LEG_JOINTS, list(range(12))), encoding="utf-8")
        read, refused = outcomes(deploy_yaml.read_yaml(path), berkeley_yaml.draft_from)
    else:
        path.write_text(publisher_files.deploy_yaml(extra=CLOCK), encoding="utf-8")
        data = deploy_yaml.read_yaml(path)
        for alike in ("projected_gravity", "joint_pos_rel", "joint_vel_rel", "last_action"):
            del data["observations"][alike]
        read, refused = outcomes(data, deploy_yaml.draft_from)
    assert read > 30, "values that do not matter are let through"
    assert refused > 100


def deploy_draft(folder: Path, text: str, robot: str | None = None) -> Draft:
    path = folder / "deploy.yaml"
    path.write_text(text, encoding="utf-8")
    return deploy_yaml.draft_from(deploy_yaml.read_yaml(path), "mine", robot)


def test_a_robot_that_may_be_no_g1_must_be_named(tmp_path: Path) -> None:
    """A quadruped's twelve motors count from 0 as a G1's legs do."""
    text = publisher_files.deploy_yaml().replace(
        publisher_files.row(publisher_files.ISAAC_OF_MOTOR), "[3, 0, 9, 6, 4, 1, 10, 7, 5, 2, 11, 8]"
    )
    with pytest.raises(Refused, match="--robot"):
        deploy_draft(tmp_path, text)


def test_tuples_are_lists_and_absent_ranges_are_assumed_aloud(tmp_path: Path) -> None:
    text = publisher_files.deploy_yaml()
    tuples = text.replace("lin_vel_x: [", "lin_vel_x: !!python/tuple [")
    assert deploy_draft(tmp_path, tuples).data["command"]["vx"] == [-0.5, 1.0]
    start, end = text.index("commands:"), text.index("actions:")
    draft = deploy_draft(tmp_path, text[:start] + text[end:])
    assert draft.data["command"]["yaw_rate"] == [-0.5, 0.5]
    assert any("command ranges" in note for note in draft.notes)


def test_an_observation_without_settings_has_the_usual_ones(tmp_path: Path) -> None:
    text = publisher_files.deploy_yaml(history=1, extra="  base_lin_vel:\n")
    terms = deploy_draft(tmp_path, text).data["inputs"][0]["blocks"][0]["terms"]
    assert terms[-1] == {"term": "base_lin_vel"}


def test_a_policy_that_only_stands_has_ranges_of_nothing(tmp_path: Path) -> None:
    text = publisher_files.deploy_yaml().replace("[-0.5, 1.0]", "[0, 0.0]").replace("[-0.3, 0.3]", "[0, 0]")
    draft = deploy_draft(tmp_path, text)
    manifest = read_manifest(Path("m.json"), draft.text().encode())
    assert manifest.command_ranges == ((0, 0), (0, 0), (-0.2, 0.2))


def test_an_absent_offset_is_taken_as_the_source_does_and_said(tmp_path: Path) -> None:
    text = publisher_files.deploy_yaml()
    start = text.index("    offset: ")
    draft = deploy_draft(tmp_path, text[:start] + text[text.index("\n", start) + 1 :])
    assert draft.data["action"]["offset"] == 0
    assert any("offset" in note for note in draft.notes)
