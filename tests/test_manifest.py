"""Controllers as data: what ships loads, and anything unknown, missing or of the wrong kind is refused in words."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.controller import Controller
from runtime.errors import Refused
from runtime.manifest import CONTROLLERS, OWN_CONTROLLER, Manifest, controller_names, find_manifest, find_model
from runtime.manifest_reader import load_manifest
from runtime.robot import load_robot
from runtime.steered import USUAL
from tests.stub_model import StubModel

G1 = load_robot("g1_29dof")
TWIST2 = json.loads((CONTROLLERS / "twist2.json").read_text("utf-8"))
HOLOSOMA = json.loads((CONTROLLERS / "holosoma-velocity.json").read_text("utf-8"))
SIZES = {"twist2": 1432, "holosoma-velocity": 100}
BLOCKS = ("inputs", 0, "blocks")
TERM = (*BLOCKS, 0, "terms", 0)
GONE = object()


def changed(data: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one value replaced, added or (GONE) removed."""
    data = copy.deepcopy(data)
    node: Any = data
    for key in place[:-1]:
        node = node[key]
    if value is GONE:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return data


def load(folder: Path, data: Any) -> Manifest:
    path = folder / "controller.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return load_manifest(str(path))


def refusal_of(folder: Path, data: Any) -> Refused:
    with pytest.raises(Refused) as refusal:
        load(folder, data)
    error = refusal.value
    assert error.expected and error.found and error.what_to_do
    return error


# What ships


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_a_shipped_manifest_loads_and_lays_out_its_models_input(name: str, size: int) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert len(manifest.order) == 29
    controller = Controller(manifest, StubModel({"obs": size}, {"action": 29}))
    assert controller.observations[0][0].values.size == size


def test_these_controllers_ship() -> None:
    assert controller_names() == sorted([OWN_CONTROLLER, USUAL, *SIZES])


def test_twist2_is_a_tracker_with_its_published_figures() -> None:
    manifest = load_manifest("twist2")
    assert (manifest.kind, manifest.rate_hz, manifest.action_clip, manifest.action_observed) == (
        "tracker", 50, (-10, 10), "raw")
    np.testing.assert_array_equal(manifest.action_offset, manifest.default_pose)
    np.testing.assert_array_equal(manifest.action_scale, np.full(29, 0.5, np.float32))
    assert manifest.kp[3] == 150
    assert manifest.command_ranges is None
    assert manifest.phase is None


def test_holosoma_is_a_velocity_controller_with_a_gait_clock() -> None:
    manifest = load_manifest("holosoma-velocity")
    assert manifest.kind == "velocity"
    assert manifest.command_ranges == ((-1, 1),) * 3
    assert manifest.phase is not None
    assert manifest.phase.offsets_rad == (0, math.pi)


def test_a_manifest_is_found_by_name_by_file_and_by_bundle_folder(tmp_path: Path) -> None:
    load(tmp_path, TWIST2)
    assert find_manifest("twist2") == CONTROLLERS / "twist2.json"
    for place in (tmp_path, tmp_path / "controller.json"):
        assert load_manifest(str(place)).path == tmp_path / "controller.json"


def test_an_unknown_controller_is_refused_with_the_nearest_name() -> None:
    names = "one of g1-tracker, g1-velocity, holosoma-velocity, twist2"
    with pytest.raises(Refused, match=rf"{names}.*did you mean twist2\?"):
        load_manifest("twist3")


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "no/such/folder"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="one of g1-tracker, g1-velocity, holosoma-velocity, twist2"):
        load_manifest(name)


# Gains and values by joint


def test_one_number_serves_every_joint(tmp_path: Path) -> None:
    manifest = load(tmp_path, changed(TWIST2, ("gains",), {"kp": 50, "kd": 2}))
    np.testing.assert_array_equal(manifest.kp, np.full(29, 50, np.float32))


def test_values_by_joint_name_land_on_their_joints(tmp_path: Path) -> None:
    kp = {name: float(i) for i, name in enumerate(reversed(TWIST2["joints"]))}
    manifest = load(tmp_path, changed(TWIST2, ("gains", "kp"), kp))
    assert [kp[name] for name in manifest.order.names] == manifest.kp.tolist()


def test_gains_in_motor_order_follow_the_joints_into_policy_order(tmp_path: Path) -> None:
    data = changed(TWIST2, ("joints",), TWIST2["joints"][::-1])
    data["gains"] = {"kp": list(range(29)), "kd": 1, "order": "motor"}
    manifest = load(tmp_path, data)
    by_motor = np.zeros(29)
    by_motor[manifest.motor_index] = manifest.kp
    np.testing.assert_array_equal(by_motor, np.arange(29))
    np.testing.assert_array_equal(manifest.kp, np.arange(29)[::-1])


def test_gains_in_policy_order_stay(tmp_path: Path) -> None:
    data = changed(TWIST2, ("joints",), TWIST2["joints"][::-1])
    data["gains"] = {"kp": list(range(29)), "kd": 1}
    np.testing.assert_array_equal(load(tmp_path, data).kp, np.arange(29))


def without_wrists() -> dict[str, Any]:
    names = [name for name in TWIST2["joints"] if "wrist" not in name]
    data = changed(TWIST2, ("joints",), names)
    data.update(default_pose=0.0, gains={"kp": 40, "kd": 2}, action={"scale": 0.5, "offset": 0.1})
    data["held"] = {name: {"q": 0.1, "kp": 20, "kd": 1} for name in TWIST2["joints"] if "wrist" in name}
    return data


def test_held_joints_are_commanded_at_their_pose_beside_the_policy(tmp_path: Path) -> None:
    manifest = load(tmp_path, without_wrists())
    size = load_size(manifest)
    controller = Controller(manifest, StubModel({"obs": size}, {"action": 23}))
    wrists = [joint.motor for joint in G1.joints if "wrist" in joint.name]
    np.testing.assert_allclose(controller.target[wrists], [[0.1, 0, 0, 20, 1]] * 6, rtol=1e-6)
    others = [joint.motor for joint in G1.joints if "wrist" not in joint.name]
    np.testing.assert_allclose(controller.target[others], [[0, 0, 0, 40, 2]] * 23)


def load_size(manifest: Manifest) -> int:
    """How many numbers the manifest's only input has, as its refusal of a wrong model says."""
    with pytest.raises(Refused) as refusal:
        Controller(manifest, StubModel({"obs": 1}, {"action": len(manifest.order)}))
    return int(refusal.value.expected.split("of ")[1].split(" ")[0])


def test_a_sorted_block_lays_its_terms_out_by_label() -> None:
    controller = Controller(load_manifest("holosoma-velocity"), StubModel({"obs": 100}, {"action": 29}))
    labels = [row.label for row in controller.observations[0][0].rows]
    assert labels == sorted(labels)
    assert labels[0] == "actions"
    assert len(labels) == 9


# Refusals

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown term": (changed(TWIST2, (*TERM, "term"), "ref_joint_poss"), "did you mean ref_joint_pos?"),
    "unlike any term": (changed(TWIST2, (*TERM, "term"), "qqqq"), "use one of these"),
    "no term": (changed(TWIST2, (*TERM, "term"), GONE), "a term among base_accel"),
    "unknown key": (changed(TWIST2, ("gain",), 1), "found unknown gain"),
    "unknown key of a term": (changed(TWIST2, (*TERM, "scales"), 1), "inputs[0].blocks[0].terms[0]"),
    "unknown key of a block": (changed(TWIST2, (*BLOCKS, 0, "histories"), 1), "unknown histories"),
    "unknown key of an input": (changed(TWIST2, ("inputs", 0, "scale"), 1), "inputs[0]: expected keys"),
    "unknown key of the action": (changed(TWIST2, ("action", "bias"), 1), "action: expected keys"),
    "setting of another term": (changed(TWIST2, (*BLOCKS, 0, "terms", 7, "frames"), [1]), "unknown frames"),
    "missing key": (changed(TWIST2, ("rate_hz",), GONE), "missing rate_hz"),
    "missing gains": (changed(TWIST2, ("gains", "kd"), GONE), "missing kd"),
    "missing scale": (changed(TWIST2, ("action", "scale"), GONE), "missing scale"),
    "wrong joint": (changed(TWIST2, ("joints", 3), "left_tail_joint"), "unknown left_tail_joint"),
    "joint twice": (changed(TWIST2, ("joints", 3), TWIST2["joints"][4]), f"{TWIST2['joints'][4]} twice"),
    "joint nowhere": (changed(TWIST2, ("joints",), TWIST2["joints"][:-1]), "here right_wrist_yaw_joint), found none"),
    "joint twofold": (changed(TWIST2, ("held",), {"left_knee_joint": {"q": 0, "kp": 1, "kd": 1}}),
                      "either in `joints` or in `held`"),
    "held beyond its range": (changed(without_wrists(), ("held", "left_wrist_yaw_joint", "q"), 2), "1.61443"),
    "held too stiffly": (changed(without_wrists(), ("held", "left_wrist_yaw_joint", "kp"), 401), "from 0 to 400"),
    "short pose": (changed(TWIST2, ("default_pose",), [0.0] * 28), "one number or 29, one a joint, found 28"),
    "short gains": (changed(TWIST2, ("gains", "kp"), [1.0] * 30), "gains.kp"),
    "pose lacks a joint": (changed(TWIST2, ("default_pose",), {"left_knee_joint": 1}), "joint names"),
    "NaN pose": (changed(TWIST2, ("default_pose", 3), math.nan), "default_pose"),
    "infinite scale": (changed(TWIST2, ("action", "scale"), math.inf), "action.scale"),
    "NaN rate": (changed(TWIST2, ("rate_hz",), math.nan), "a number from 1 to 1000, found nan"),
    "rate as text": (changed(TWIST2, ("rate_hz",), "50"), "found '50'"),
    "rate as boolean": (changed(TWIST2, ("rate_hz",), True), "found True"),
    "rate zero": (changed(TWIST2, ("rate_hz",), 0), "rate_hz"),
    "kp beyond": (changed(TWIST2, ("gains", "kp", 0), 400.1), "from 0 to 400.0 (g1_29dof)"),
    "kd beyond": (changed(TWIST2, ("gains", "kd", 0), 15.1), "from 0 to 15.0 (g1_29dof)"),
    "kp negative": (changed(TWIST2, ("gains", "kp", 0), -1), "gains.kp"),
    "a number too large for any float": (changed(TWIST2, ("default_pose", 0), 10**400), "default_pose"),
    "wrong schema": (changed(TWIST2, ("schema",), "exoactor-controller/2"), '"schema": "exoactor-controller/1"'),
    "no schema": (changed(TWIST2, ("schema",), GONE), "found None"),
    "unknown robot": (changed(TWIST2, ("robot",), "h1"), "g1_23dof, g1_29dof"),
    "endless robot name": (changed(TWIST2, ("robot",), "x" * 5000), "the layout of"),
    "unknown kind": (changed(TWIST2, ("kind",), "dancer"), "one of tracker, velocity, found dancer"),
    "unknown sort": (changed(TWIST2, (*BLOCKS, 0, "sort"), "name"), "one of label, found name"),
    "past of nothing": (changed(TWIST2, (*BLOCKS, 1, "past_of"), "frames"), "past_of: expected the `name` of a block"),
    "past of a past": (changed(changed(TWIST2, (*BLOCKS, 1, "name"), "past"), (*BLOCKS, 1, "past_of"), "past"),
                       "a block with terms"),
    "past without length": (changed(TWIST2, (*BLOCKS, 1, "length"), GONE), "missing length"),
    "past and terms": (changed(TWIST2, (*BLOCKS, 0, "past_of"), "frame"), "either `terms` or `past_of`"),
    "neither": (changed(TWIST2, (*BLOCKS, 0, "terms"), GONE), "either `terms` or `past_of`"),
    "order of no history": (changed(TWIST2, (*BLOCKS, 0, "order"), "newest_first"), "unknown order"),
    "block name twice": (changed(TWIST2, (*BLOCKS, 2, "name"), "frame"), "each name once, found frame, frame"),
    "history zero": (changed(TWIST2, (*TERM, "history"), {"length": 0}), "length from 1 to 1000"),
    "history true": (changed(TWIST2, (*TERM, "history"), {"length": True}), "length from 1 to 1000"),
    "history order": (changed(TWIST2, (*TERM, "history"), {"length": 2, "order": "random"}), "oldest_first or"),
    "history of a block": (changed(TWIST2, (*BLOCKS, 0, "history"), {"length": "2"}), "length from 1 to 1000"),
    "clip upside down": (changed(TWIST2, ("action", "clip"), [10, -10]), "[low, high]"),
    "clip of three": (changed(TWIST2, ("inputs", 0, "clip"), [1, 2, 3]), "inputs[0].clip"),
    "clip with NaN": (changed(TWIST2, (*TERM, "clip"), [math.nan, 1]), "terms[0].clip"),
    "scale as text": (changed(TWIST2, (*TERM, "scale"), "0.5"), "terms[0].scale"),
    "frames of halves": (changed(TWIST2, (*TERM, "frames"), [0.5]), "a whole number from -1000 to 1000"),
    "no inputs": (changed(TWIST2, ("inputs",), []), "a list that is not empty"),
    "no blocks": (changed(TWIST2, ("inputs", 0, "blocks"), {}), "inputs[0].blocks"),
    "model file a number": (changed(TWIST2, ("model",), {"file": 3}), "model.file"),
    "unknown output key": (changed(TWIST2, ("outputs",), {"actions": "a"}), "outputs"),
    "recurrent lacks output": (changed(TWIST2, ("recurrent",), [{"input": "h"}]), "missing output"),
    "velocity without ranges": (changed(HOLOSOMA, ("command",), GONE), "ranges of vx, vy, yaw_rate"),
    "velocity without yaw": (changed(HOLOSOMA, ("command", "yaw_rate"), GONE), "missing yaw_rate"),
    "gait clock stands still": (changed(HOLOSOMA, ("phase", "period_s"), 0), "phase.period_s"),
    "gait clock of texts": (changed(HOLOSOMA, ("phase", "offsets_rad"), "12"), "phase.offsets_rad"),
    "gait clock without feet": (changed(HOLOSOMA, ("phase", "offsets_rad"), []), "phase.offsets_rad"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_manifest_that_does_not_fit_is_refused_in_words(tmp_path: Path, case: str) -> None:
    data, words = CASES[case]
    assert words in str(refusal_of(tmp_path, data))


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", "null", "3", '"x"', "{}", "\ufeff{}", "[" * 100_000])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    assert "controller.json" in str(refusal_of(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "controller.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(Refused, match="a JSON file"):
        load_manifest(str(path))


def test_a_phase_term_without_a_gait_clock_is_refused(tmp_path: Path) -> None:
    manifest = load(tmp_path, changed(HOLOSOMA, ("phase",), GONE))
    with pytest.raises(Refused, match="phase"):
        Controller(manifest, StubModel({"obs": 100}, {"action": 29}))


def test_zeroed_joints_that_the_controller_lacks_are_refused(tmp_path: Path) -> None:
    manifest = load(tmp_path, changed(HOLOSOMA, (*BLOCKS, 0, "terms", 4, "zero_joints"), ["tail_joint"]))
    with pytest.raises(Refused, match="tail_joint"):
        Controller(manifest, StubModel({"obs": 100}, {"action": 29}))


def test_a_scale_of_another_length_is_refused(tmp_path: Path) -> None:
    manifest = load(tmp_path, changed(HOLOSOMA, (*BLOCKS, 0, "terms", 4, "scale"), [1.0, 2.0]))
    with pytest.raises(Refused, match="29"):
        Controller(manifest, StubModel({"obs": 100}, {"action": 29}))


# Every leaf by everything else

ODD: list[Any] = [None, "x", [], {}, -1, 1e9, True, math.nan, 10**400, [[]], [None], {"x": None}]


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a JSON document stands, containers included; of long lists only the ends."""
    if at:
        yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*at, key))
    elif isinstance(node, list):
        for i in {0, len(node) - 1} if node else ():
            yield from places(node[i], (*at, i))


def rich() -> dict[str, Any]:
    """A manifest that uses every key there is."""
    data = without_wrists()
    data["kind"], data["command"], data["phase"] = "velocity", HOLOSOMA["command"], HOLOSOMA["phase"]
    data["gains"]["order"] = "motor"
    data["model"] = {"file": "policy.onnx", "sha256": "0" * 64, "source": "nowhere"}
    data["outputs"], data["recurrent"] = {"action": "action"}, [{"input": "h_in", "output": "h_out"}]
    data["inputs"] = [
        {"name": "obs", "clip": [-5, 5], "blocks": [
            {"name": "a", "sort": "label", "history": {"length": 2, "order": "newest_first", "fill": "repeat"},
             "terms": [
                 {"term": "joint_pos_rel", "label": "q", "scale": [1.0] * 23, "clip": [-1, 1],
                  "history": {"length": 2}, "zero_joints": ["left_knee_joint"]},
                 {"term": "constant", "value": [1, 2]},
                 {"term": "model_output", "output": "h_out"},
                 {"term": "ref_joint_pos", "frames": [0, 5]},
             ]},
            {"past_of": "a", "length": 3, "order": "newest_first", "fill": "repeat"},
        ]},
    ]
    return data


@pytest.mark.parametrize("make", [lambda: TWIST2, lambda: HOLOSOMA, rich], ids=["twist2", "holosoma", "rich"])
def test_any_value_in_any_place_is_accepted_or_refused(tmp_path: Path, make: Callable[[], dict[str, Any]]) -> None:
    data = make()
    Controller(load(tmp_path, data), _model_for(load(tmp_path, data)))
    for place in places(data):
        for odd in [*ODD, GONE]:
            try:
                manifest = load(tmp_path, changed(data, place, odd))
                Controller(manifest, _model_for(manifest))
            except Refused:
                continue
            except Exception as error:
                raise AssertionError(f"{'/'.join(map(str, place))} = {odd!r}") from error


def _model_for(manifest: Manifest) -> StubModel:
    """A network that fits, as far as one can."""
    hidden = {name: 4 for name, _ in manifest.recurrent}
    outputs = {"action": len(manifest.order), **{name: 4 for _, name in manifest.recurrent}}
    try:
        Controller(manifest, StubModel({"obs": 1, **hidden}, outputs))
    except Refused as refusal:
        if "numbers, as the manifest" not in refusal.expected:
            raise
        return StubModel({"obs": int(refusal.expected.split("of ")[1].split(" ")[0]), **hidden}, outputs)
    return StubModel({"obs": 1, **hidden}, outputs)


# Models


def test_a_manifest_without_weights_asks_for_a_model() -> None:
    with pytest.raises(Refused, match="--model FILE"):
        find_model(load_manifest("twist2"), None)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no file"):
        find_model(load_manifest("twist2"), str(tmp_path / "policy.onnx"))


def test_a_bundles_own_model_is_found_and_its_hash_checked(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    bundle = load(tmp_path, changed(TWIST2, ("model",), {"file": "policy.onnx", "sha256": digest}))
    assert find_model(bundle, None) == tmp_path / "policy.onnx"
    (tmp_path / "policy.onnx").write_bytes(b"other weights")
    for given in (None, str(tmp_path / "policy.onnx")):
        with pytest.raises(Refused, match=f"expected sha256 {digest}"):
            find_model(bundle, given)
