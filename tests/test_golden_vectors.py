"""Golden vectors of our own bundles: what was recorded is reproduced, and what differs is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.plausible import plausible_ticks
from runtime import rotation
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.golden import MOST_BYTES, pack, record, refuse_mismatch, replay, unpack
from runtime.manifest import CONTROLLERS
from runtime.manifest_reader import load_manifest
from runtime.state import RobotState
from tests.stub_model import StubModel

N = 29
TERMS = [{"term": "joint_vel", "scale": 0.05}, {"term": "joint_pos_rel"}, {"term": "last_action"},
         {"term": "projected_gravity"}, {"term": "ref_joint_pos", "frames": [0, 5]}, {"term": "ref_root_height"},
         {"term": "velocity_command"}, {"term": "time_step"}]
SIZE = 5 * N + 3 + 1 + 3 + 1


def think(model: StubModel) -> None:
    model.outputs["action"][0, :] = np.tanh(model.inputs["obs"][0, :N] + 0.1 * model.inputs["obs"][0, -N:])


def controller(folder: Path, terms: list[Any] = TERMS, think: Any = think, **changes: Any) -> Controller:
    data = json.loads((CONTROLLERS / "twist2.json").read_text("utf-8"))
    data.update(inputs=[{"name": "obs", "blocks": [{"terms": terms}]}], **changes)
    (folder / "controller.json").write_text(json.dumps(data), encoding="utf-8")
    return Controller(load_manifest(str(folder)), StubModel({"obs": SIZE}, {"action": N}, think))


def swapped() -> list[Any]:
    terms = [dict(term) for term in TERMS]
    terms[0]["term"], terms[1]["term"] = terms[1]["term"], terms[0]["term"]
    return terms


def test_a_record_is_reproduced_exactly_by_another_controller_of_the_kind(tmp_path: Path) -> None:
    arrays = record(controller(tmp_path), plausible_ticks(controller(tmp_path), 8, seed=1))
    worst = replay(controller(tmp_path), unpack(pack(arrays)))
    assert list(worst) == ["observation.0", "action", "target"]
    assert {name: entry.error for name, entry in worst.items()} == dict.fromkeys(worst, 0.0)
    refuse_mismatch("x", worst)


def test_what_is_recorded_is_everything_a_tick_is_told(tmp_path: Path) -> None:
    subject = controller(tmp_path)
    arrays = record(subject, plausible_ticks(subject, 3, seed=1))
    assert arrays["state"].shape == (3, 3 * N + 10)
    assert arrays["window"].shape == (3, 2, 2 * N + 16)
    assert arrays["offsets"].tolist() == [0, 5]
    assert arrays["place.command"].shape == (3, 3)
    assert arrays["place.step"].ravel().tolist() == [0, 1, 2]
    assert (arrays["action"] != 0).any()


def test_an_input_place_that_somebody_adds_is_recorded_too(tmp_path: Path) -> None:
    def with_tokens() -> Controller:
        subject = controller(tmp_path)
        subject.inputs._own("tokens", 4)
        subject.inputs._own("mode", 1)[:] = 2
        return subject

    arrays = record(with_tokens(), plausible_ticks(with_tokens(), 3, seed=1))
    assert np.ptp(arrays["place.tokens"]) > 0
    assert (arrays["place.mode"] == 2).all()  # a choice is not drawn: every number may not be one
    given = plausible_ticks(with_tokens(), 3, 1, {"mode": np.array([[0], [1], [2]])})
    assert record(with_tokens(), given)["place.mode"].ravel().tolist() == [0, 1, 2]
    with pytest.raises(Refused, match=r"place\.tokens"):
        replay(controller(tmp_path), arrays)


def test_a_flag_that_the_controller_clears_is_up_in_the_first_tick_only(tmp_path: Path) -> None:
    class Flagged(Controller):
        def reset(self) -> None:
            super().reset()
            self.inputs.own["reinit"][:] = 1

        def tick(self, state: RobotState) -> None:
            super().tick(state)
            self.inputs.own["reinit"][:] = 0

    plain = controller(tmp_path)
    plain.inputs._own("reinit", 1)
    plain.__class__ = Flagged
    plain.reset()
    ticks = plausible_ticks(plain, 4, seed=1)
    assert [float(tick.places["reinit"][0]) for tick in ticks] == [1, 0, 0, 0]


def test_terms_of_one_width_exchanged_are_named_at_the_first_tick(tmp_path: Path) -> None:
    arrays = record(controller(tmp_path), plausible_ticks(controller(tmp_path), 8, seed=1))
    worst = replay(controller(tmp_path, swapped()), arrays)
    with pytest.raises(Refused, match=r"observation\.0 at tick 0, entry \d+ \(joint_") as refused:
        refuse_mismatch("x", worst)
    assert worst["observation.0"].error > 0.1
    assert refused.value.what == "golden vectors of x"


@pytest.mark.parametrize(("tensor", "changes", "label"), [
    ("action", {"think": lambda model: None}, "_joint"),
    ("target", {"gains": {"kp": 41.0, "kd": 1.0}}, "k[pd] of"),
    ("target", {"action": {"scale": 0.4}}, "q of"),
])
def test_another_network_and_other_gains_are_named(
    tmp_path: Path, tensor: str, changes: dict[str, Any], label: str
) -> None:
    arrays = record(controller(tmp_path), plausible_ticks(controller(tmp_path), 4, seed=1))
    with pytest.raises(Refused, match=rf"in {tensor} at tick 0, entry \d+ \(.*{label}"):
        refuse_mismatch("x", replay(controller(tmp_path, **changes), arrays))


@pytest.mark.parametrize(("share", "ok"), [(0.9, True), (1.1, False)])
def test_tolerance_holds_on_both_sides(tmp_path: Path, share: float, ok: bool) -> None:
    arrays = record(controller(tmp_path), plausible_ticks(controller(tmp_path), 4, seed=1))
    arrays["action"][2, 3] += share * 1e-4
    worst = replay(controller(tmp_path), arrays)
    if ok:
        return refuse_mismatch("x", worst)
    with pytest.raises(Refused, match="in action at tick 2, entry 3 "):
        refuse_mismatch("x", worst)


def test_an_action_that_is_not_a_number_is_a_mismatch(tmp_path: Path) -> None:
    arrays = record(controller(tmp_path), plausible_ticks(controller(tmp_path), 4, seed=1))
    broken = controller(tmp_path, think=lambda model: model.outputs["action"].fill(np.nan))
    assert replay(broken, arrays)["action"].error == np.inf


def test_record_and_replay_leave_the_controller_as_new(tmp_path: Path) -> None:
    subject, fresh = controller(tmp_path), controller(tmp_path)
    ticks = plausible_ticks(subject, 5, seed=1)
    replay(subject, record(subject, ticks))
    for other in (subject, fresh):
        other.tick(RobotState(N))
    assert (subject.observations[0][0].values == fresh.observations[0][0].values).all()
    assert (subject.target == fresh.target).all()


@pytest.mark.parametrize(("name", "change"), [
    ("state", lambda array: array[:, :-1]), ("state", lambda array: array[:0]),
    ("action", lambda array: array * np.nan), ("window", lambda array: array[:, :1]),
    ("target", lambda array: array.astype("U8")), ("offsets", lambda array: array + 1),
])
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, name: str, change: Any) -> None:
    arrays = record(controller(tmp_path), plausible_ticks(controller(tmp_path), 3, seed=1))
    with pytest.raises(Refused, match="golden vectors"):
        replay(controller(tmp_path), {**arrays, name: change(arrays[name])})
    del arrays[name]
    with pytest.raises(Refused, match="golden vectors"):
        replay(controller(tmp_path), arrays)


def test_packing_gives_the_same_bytes_for_the_same_numbers() -> None:
    arrays = {"b": np.arange(3.0), "a": np.eye(2, dtype=np.float32)}
    assert pack(arrays) == pack(dict(reversed(arrays.items())))


def test_an_archive_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(Refused, match="bytes unpacked"):
        unpack(pack({"a": np.zeros(MOST_BYTES // 8 + 1)}))


def test_objects_are_never_unpickled() -> None:
    import io

    out = io.BytesIO()
    np.savez(out, a=np.array([{}], dtype=object))
    with pytest.raises(Refused, match=r"an \.npz of plain arrays"):
        unpack(out.getvalue())


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(1, 255))
def test_bytes_that_are_no_archive_are_refused(junk: bytes, place: int, flip: int) -> None:
    data = bytearray(pack({"a": np.arange(4.0)}))
    data[place % len(data)] ^= flip
    for bytes_ in (junk, bytes(data), bytes(data[: place % len(data)])):
        try:
            unpack(bytes_)
        except Refused:
            continue


def test_plausible_ticks_are_what_a_robot_could_meet(tmp_path: Path) -> None:
    subject = controller(tmp_path)
    robot, frame = subject.manifest.robot, subject.window.now
    lower, upper = robot.column("lower_rad") - 1e-6, robot.column("upper_rad") + 1e-6
    ticks = plausible_ticks(subject, 20, seed=3)
    for tick in ticks:
        assert ((lower <= tick.state[:N]) & (tick.state[:N] <= upper)).all()
        quat = tick.state[3 * N : 3 * N + 4]
        assert abs(np.linalg.norm(quat) - 1) < 1e-6
        assert rotation.gravity_in_base(quat)[2] < -0.8
        for values in tick.window:
            frame.values[:] = values
            np.testing.assert_allclose(rotation.quat_from_rpy(*frame.root_rpy), frame.root_quat_wxyz, atol=1e-12)
            assert np.isfinite(values).all()
    states = np.array([tick.state for tick in ticks])
    assert np.abs(np.diff(states[:, :N], axis=0)).max() < 0.15
    assert (states != np.array([tick.state for tick in plausible_ticks(subject, 20, seed=4)])).any()
    assert (states == np.array([tick.state for tick in plausible_ticks(subject, 20, seed=3)])).all()


def test_commands_stay_in_the_controller_s_ranges(tmp_path: Path) -> None:
    manifest = replace(load_manifest("holosoma-velocity"), command_ranges=((-0.1, 0.9), (0.2, 0.3), (-1.0, -0.5)))
    subject = Controller(manifest, StubModel({"obs": 100}, {"action": N}))
    commands = np.array([tick.places["command"] for tick in plausible_ticks(subject, 30, seed=1)])
    low, high = np.array(manifest.command_ranges).T
    assert (low - 1e-6 <= commands).all() and (commands <= high + 1e-6).all()
    assert (np.ptp(commands, axis=0) > 0.2 * (high - low)).all()
