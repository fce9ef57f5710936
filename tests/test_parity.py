"""Parity: the same observations through everything that computes a network, and what is said when they part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("onnx", reason="missing dependency: onnx")

import exoactor
from export.bundle_writer import write_bundle
from export.evaluator import InNumpy, OnBackend, OnSession, evaluate
from export.layers import first_differing_layer, in_half_precision
from export.parity import BIN, TOKEN_FLIP_RATIO, compare, is_quantised
from export.recording import Recording
from export.subject import open_subject
from runtime.backend import ACTION_TOLERANCES, open_model
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.golden import unpack
from runtime.log_file import LogWriter
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.pilot import Phase
from runtime.records import policy_log_dtype
from runtime.state import RobotState
from tests import tiny_bundle, tiny_onnx
from tests.tiny_onnx import FLOAT, STRING, node

N = tiny_bundle.N
ON_CPU = ["cpu", "cpu-unoptimised", "onnx-reference"]


def golden_ticks(bundle: Path) -> int:
    return len(unpack((bundle / "golden.npz").read_bytes())["state"])


def parity(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = exoactor.main(["export", "parity", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


# ---- agreement


def test_three_computations_agree_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle.make(tmp_path)
    code, report = parity(capsys, str(bundle), "--ticks", "40")
    assert code == 0
    assert report["ok"]
    observations = golden_ticks(bundle) + 40
    assert report["observations"] == observations > 70
    assert list(report["backends"]) == ON_CPU
    for name, row in report["backends"].items():
        assert row["max_action_error"] <= 1e-6
        assert row["mean_action_error"] <= row["max_action_error"]
        assert (row["token_flips"], row["tokens"], row["ok"]) == (0, 0, True), name
        assert (row["observations"], row["tolerance"]) == (observations, 1e-4)
    assert set(report["unavailable"]) == {"cuda", "tensorrt", "engine", "engine-tf32", "engine-fp16"}
    assert "exoactor export engine" in report["unavailable"]["engine"]


def test_the_table_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exoactor.main(["export", "parity", str(tiny_bundle.make(tmp_path)), "--ticks", "5"]) == 0
    out = capsys.readouterr()
    assert [line.split()[0] for line in out.out.splitlines()[2:]] == ON_CPU
    assert "cuda             not compared: " in out.err


def test_the_same_seed_draws_the_same_observations(tmp_path: Path) -> None:
    bundle = str(tiny_bundle.make(tmp_path))
    feeds = [open_subject(bundle, None, None, 5, seed).recordings[0].feeds["obs"] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(feeds[0], feeds[1])
    assert not np.array_equal(feeds[1], feeds[2])


def test_a_bare_network_is_compared_on_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = parity(capsys, str(tiny_bundle.network(tmp_path / "net.onnx")), "--ticks", "7")
    assert (code, report["observations"], report["controller"]) == (0, 7, "net.onnx")
    assert "noise" in report["fed_from"]


def test_the_reference_may_be_named_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(tiny_bundle.make(tmp_path))
    code, report = parity(capsys, bundle, "--ticks", "5", "--backends", "cpu")
    assert (code, list(report["backends"])) == (0, ["cpu"])
    code, report = parity(capsys, bundle, "--ticks", "5", "--backends", "cpu, onnx-reference")
    assert (code, list(report["backends"])) == (0, ["cpu", "onnx-reference"])


def test_half_precision_has_a_tolerance_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(tiny_bundle.make(tmp_path))
    code, report = parity(capsys, bundle, "--ticks", "20", "--backends", "cpu-fp16")
    row = report["backends"]["cpu-fp16"]
    assert (code, row["tolerance"]) == (0, ACTION_TOLERANCES["fp16"])
    assert row["max_action_error"] > 1e-5
    tight = tiny_bundle.make(tmp_path, tolerances={"action_fp16": 1e-6})
    code, report = parity(capsys, str(tight), "--ticks", "20", "--backends", "cpu-fp16")
    assert (code, report["backends"]["cpu-fp16"]["tolerance"]) == (1, 1e-6)
    assert report["backends"]["cpu-fp16"]["first_differing_layer"]["tensor"] == "h"


# ---- difference


def deep(path: Path, spoil: float = 0.0, meta: dict[str, str] | None = None) -> Path:
    """obs -> a = obs @ A -> b = tanh(a) -> c = b @ B -> action = c + 1; `spoil` is added to one weight of B."""
    rng = np.random.default_rng(0)
    a, b = 0.1 * rng.standard_normal((tiny_bundle.SIZE, 16)), 0.3 * rng.standard_normal((16, N))
    b[3, 4] += spoil
    return tiny_onnx.write(
        path,
        [node("MatMul", ["obs", "A"], ["a"]), node("Tanh", ["a"], ["b"]), node("MatMul", ["b", "B"], ["c"]),
         node("Add", ["c", "one"], ["action"])],
        [("obs", FLOAT, (1, tiny_bundle.SIZE))], [("action", FLOAT, (1, N))],
        {"A": a, "B": b, "one": np.ones((1, N))}, meta,
    )


def deep_bundle(tmp_path: Path, **more: Any) -> Path:
    return write_bundle(tmp_path / "deep", tiny_bundle.manifest(), {"policy.onnx": deep(tmp_path / "p.onnx")}, **more)


def test_a_perturbed_weight_fails_and_names_the_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, source = str(deep_bundle(tmp_path)), str(deep(tmp_path / "source.onnx", spoil=0.01))
    code, report = parity(capsys, bundle, "--ticks", "20", "--source", source)
    row = report["backends"]["source"]
    assert (code, report["ok"], row["ok"]) == (1, False, False)
    assert 1e-4 < row["max_action_error"] < 0.1
    assert row["worst"]["entry"] == 4  # the column that was spoilt
    layer = row["first_differing_layer"]
    assert (layer["tensor"], layer["operator"]) == ("c", "MatMul")
    assert all(report["backends"][name]["ok"] for name in ON_CPU)


def test_a_failure_is_seen_in_the_table_and_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, source = str(deep_bundle(tmp_path)), str(deep(tmp_path / "source.onnx", spoil=0.01))
    assert exoactor.main(["export", "parity", bundle, "--ticks", "5", "--source", source]) == 1
    out = capsys.readouterr().out
    assert "NO" in next(line for line in out.splitlines() if line.startswith("source"))
    assert "first differing layer: MatMul that makes c" in out


def test_the_same_weights_agree_with_their_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, source = str(deep_bundle(tmp_path)), str(deep(tmp_path / "source.onnx", meta={"note": "as trained"}))
    code, report = parity(capsys, bundle, "--ticks", "20", "--source", source, "--backends", "onnx-reference")
    assert (code, report["backends"]["source"]["max_action_error"]) == (0, 0.0)


def test_the_tolerance_is_the_bundle_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(deep(tmp_path / "source.onnx", spoil=1e-4))
    code, report = parity(capsys, str(deep_bundle(tmp_path)), "--ticks", "20", "--source", source)
    error = report["backends"]["source"]["max_action_error"]
    assert (code, report["backends"]["source"]["ok"]) == (0, True)
    for factor, expected in ((1.01, 0), (0.99, 1)):
        bundle = str(deep_bundle(tmp_path, tolerances={"action": error * factor}))
        assert parity(capsys, bundle, "--ticks", "20", "--source", source)[0] == expected


def test_a_difference_no_layer_shows_is_not_blamed_on_one(tmp_path: Path) -> None:
    onnx, feeds = deep(tmp_path / "p.onnx").read_bytes(), {"obs": np.ones((1, tiny_bundle.SIZE), np.float32)}
    assert first_differing_layer(onnx, OnSession, InNumpy, feeds, 1e-4) is None
    found = first_differing_layer(onnx, OnSession, lambda shown: OnSession(in_half_precision(shown)), feeds, 1e-6)
    assert found is not None
    assert found["tensor"] == "a"


def recording_of(expected: Any, **changes: Any) -> Recording:
    ticks = len(expected)
    return replace(Recording("policy", b"", {}, {}, "action", np.ones(ticks, np.bool_), np.arange(ticks)), **changes)


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_what_is_not_a_number_is_beyond_every_tolerance(spoilt: float) -> None:
    expected = np.zeros((3, 1, 4))
    found = expected.copy()
    found[1, 0, 2] = spoilt
    result = compare(recording_of(expected), {"action": expected}, {"action": found}, {}, "fp32")
    assert not result.ok
    assert result.max_action_error is None
    assert result.worst == {"observation": 1, "entry": 2}
    json.dumps(result.as_dict(), allow_nan=False)


@pytest.mark.parametrize(("error", "ok"), [(0.99e-4, True), (1.01e-4, False)])
def test_both_sides_of_the_tolerance(error: float, ok: bool) -> None:
    expected = np.ones((2, 1, 4))
    found = expected.copy()
    found[1, 0, 3] += error
    assert compare(recording_of(expected), {"action": expected}, {"action": found}, {}, "fp32").ok is ok


# ---- tokens


def test_quantised_outputs_are_known_by_their_grid() -> None:
    tokens = np.round(np.random.default_rng(0).uniform(-16, 15, (20, 1, 64))).astype(np.float32) * np.float32(BIN)
    assert is_quantised(tokens)
    assert not is_quantised(tokens + np.float32(0.001))
    assert not is_quantised(np.zeros((3, 4), np.float32))
    assert not is_quantised((16 * tokens).astype(np.int64))


@pytest.mark.parametrize(("flips", "ok"), [(1, True), (2, False)])
def test_flips_are_counted_and_few_are_let_pass(flips: int, ok: bool) -> None:
    expected = {"tokens": np.full((20, 1, 64), 3 * BIN), "action": np.zeros((20, 1, N))}
    assert TOKEN_FLIP_RATIO * expected["tokens"].size == pytest.approx(1.28)
    found = {name: values.copy() for name, values in expected.items()}
    found["tokens"][:flips, 0, 5] += BIN
    found["tokens"][10, 0, 6] += 0.4 * BIN  # still the same bin
    result = compare(recording_of(expected["action"]), expected, found, {}, "fp32")
    assert (result.token_flips, result.tokens, result.ok) == (flips, 1280, ok)
    assert result.max_action_error == 0
    assert result.worst == ({"observation": 0, "entry": 5} if flips == 2 else {"observation": 0, "entry": 0})


def staged_bundle(tmp_path: Path, **more: Any) -> Path:
    """An encoder to 8 tokens on the 1/16 grid, and a policy that reads them beside the joints."""
    rng = np.random.default_rng(1)
    encoder = tiny_onnx.write(
        tmp_path / "encoder.onnx",
        [node("MatMul", ["obs", "W"], ["z"]), node("Mul", ["z", "levels"], ["scaled"]),
         node("Round", ["scaled"], ["whole"]), node("Div", ["whole", "levels"], ["tokens"])],
        [("obs", FLOAT, (1, 2 * N))], [("tokens", FLOAT, (1, 8))],
        {"W": 0.3 * rng.standard_normal((2 * N, 8)), "levels": np.full((1, 1), 1 / BIN)},
    )
    decoder = tiny_onnx.write(
        tmp_path / "decoder.onnx", [node("MatMul", ["obs", "W"], ["action"])], [("obs", FLOAT, (1, N + 8))],
        [("action", FLOAT, (1, N))], {"W": 0.2 * rng.standard_normal((N + 8, N))},
    )
    data = tiny_bundle.manifest(stages=[{
        "name": "encoder", "model": {"file": "encoder.onnx"},
        "inputs": [{"blocks": [{"terms": [{"term": "joint_pos_rel"}, {"term": "joint_vel"}]}]}],
    }])
    data["inputs"] = [{"blocks": [{"terms": [
        {"term": "joint_pos_rel"}, {"term": "stage_output", "stage": "encoder", "output": "tokens"}]}]}]
    data["model"] = {"file": "decoder.onnx"}
    return write_bundle(tmp_path / "staged", data, {"encoder.onnx": encoder, "decoder.onnx": decoder}, **more)


def test_every_stage_is_compared_and_flips_reach_the_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = staged_bundle(tmp_path)
    bundle = str(folder)
    code, report = parity(capsys, bundle, "--ticks", "200", "--backends", "onnx-reference,cpu-unoptimised")
    assert code == 0
    for row in report["backends"].values():
        assert list(row["networks"]) == ["encoder", "policy"]
        assert row["tokens"] == (golden_ticks(folder) + 200) * 8
        assert row["networks"]["policy"]["tokens"] == 0
    code, report = parity(capsys, bundle, "--ticks", "200", "--backends", "cpu-fp16")
    row = report["backends"]["cpu-fp16"]
    assert (code, row["ok"]) == (1, False)
    assert row["token_flips"] > TOKEN_FLIP_RATIO * row["tokens"]
    assert row["failed"] == "encoder"
    assert row["first_differing_layer"]["tensor"] == "whole"  # where it is rounded
    assert row["networks"]["policy"]["ok"]  # fed with the reference's tokens it is within FP16's tolerance
    own = row["with_own_latents"]["max_action_error"]
    assert own > row["max_action_error"]
    assert own > 0.2 * BIN  # a flip moves actions by about a bin times a weight


def test_a_source_may_be_a_stage_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = staged_bundle(tmp_path)
    words = (str(bundle), "--ticks", "5", "--backends", "onnx-reference", "--source")
    code, report = parity(capsys, *words, f"encoder={bundle / 'encoder.onnx'}")
    assert (code, list(report["backends"]["source"]["networks"])) == (0, ["encoder"])
    code, report = parity(capsys, *words, f"planner={bundle / 'encoder.onnx'}")
    assert (code, report["expected"]) == (2, "a network among encoder, policy")


# ---- recurrent networks


def summing(path: Path) -> Path:
    """action = h_in + obs / 10 = h_out: what is carried over shows in every later action."""
    return tiny_onnx.write(
        path, [node("MatMul", ["obs", "W"], ["part"]), node("Add", ["part", "h_in"], ["action"]),
               node("Identity", ["action"], ["h_out"])],
        [("obs", FLOAT, (1, N)), ("h_in", FLOAT, (1, N))], [("action", FLOAT, (1, N)), ("h_out", FLOAT, (1, N))],
        {"W": 0.1 * np.eye(N)},
    )


def summing_bundle(tmp_path: Path) -> Path:
    data = tiny_bundle.manifest(recurrent=[{"input": "h_in", "output": "h_out"}], outputs={"action": "action"})
    data["inputs"] = [{"blocks": [{"terms": [{"term": "joint_pos_rel"}]}]}]
    return write_bundle(tmp_path / "summing", data, {"policy.onnx": summing(tmp_path / "s.onnx")})


def test_hidden_state_is_carried_and_starts_anew(tmp_path: Path) -> None:
    bundle = summing_bundle(tmp_path)
    recording = open_subject(str(bundle), None, None, 10, 0).recordings[0]
    assert list(recording.feeds) == ["obs"]
    second = golden_ticks(bundle)
    assert np.flatnonzero(recording.fresh).tolist() == [0, second]
    actions = evaluate(recording, OnBackend(open_model(recording.onnx)))["action"]
    parts = [np.cumsum(0.1 * rows, axis=0) for rows in np.split(recording.feeds["obs"], [second])]
    np.testing.assert_allclose(actions, np.concatenate(parts), atol=1e-5)


# ---- logs


def write_log(path: Path, bundle: Path, ticks: int = 30, lose: int | None = None, spoil: float = 0.0) -> Path:
    """A run's policy ticks: ten before tracking, then the controller at work."""
    controller = Controller(load_manifest(str(bundle)), Model(bundle / "policy.onnx"))
    manifest, rng = controller.manifest, np.random.default_rng(5)
    state, motors = RobotState(manifest.robot.motors), manifest.robot.motors
    size = sum(observation.values.size for observation, _, _ in controller.observations)
    row = np.zeros(1, policy_log_dtype(motors, N, size))
    writer = LogWriter(path, {})
    writer.add_channel("policy", row.dtype)
    for tick in range(ticks + 10):
        row["sequence"], row["now_ns"] = tick, tick * 20_000_000
        row["phase"] = Phase.READY if tick < 10 else Phase.PLAY
        if tick >= 10:
            state.q[:], state.dq[:] = rng.normal(0, 0.3, motors), rng.normal(0, 1, motors)
            controller.tick(state)
            row["observation"][0] = np.concatenate([entry.values for entry, _, _ in controller.observations])
            row["action"][0] = controller.action + spoil * (tick == 20)
        if tick != lose:
            writer.write("policy", row.tobytes())
    writer.close()
    return path


def test_a_log_is_replayed_and_its_actions_are_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle.make(tmp_path)
    log = write_log(tmp_path / "log.mcap", bundle)
    code, report = parity(capsys, str(bundle), "--log", str(log))
    assert (code, report["observations"], list(report["backends"])) == (0, 30, ["cpu", "recorded", *ON_CPU[1:]])
    assert report["backends"]["recorded"]["max_action_error"] == 0
    spoilt = write_log(tmp_path / "spoilt.mcap", bundle, spoil=0.01)
    code, report = parity(capsys, str(bundle), "--log", str(spoilt))
    row = report["backends"]["recorded"]
    assert (code, row["ok"], row["worst"]["observation"]) == (1, False, 10)
    assert row["max_action_error"] == pytest.approx(0.01, rel=1e-3)


def test_a_log_of_a_recurrent_network_ends_where_it_lost_a_tick(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = summing_bundle(tmp_path)
    for lose, left in ((None, 30), (25, 15)):
        log = write_log(tmp_path / f"{lose}.mcap", bundle, lose=lose)
        code, report = parity(capsys, str(bundle), "--log", str(log))
        assert (code, report["observations"]) == (0, left)
        assert report["backends"]["recorded"]["max_action_error"] <= 1e-6


def test_bounds_of_an_input_hold_in_the_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny_bundle.manifest()
    data["inputs"][0]["clip"] = [-0.05, 0.05]
    bundle = tiny_bundle.make(tmp_path, data)
    log = write_log(tmp_path / "log.mcap", bundle)
    code, report = parity(capsys, str(bundle), "--log", str(log))
    assert (code, report["backends"]["recorded"]["max_action_error"]) == (0, 0)


def test_a_log_that_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle.make(tmp_path)
    code, report = parity(capsys, str(bundle), "--log", str(tmp_path / "none.mcap"))
    assert (code, report["what"]) == (2, "--log")
    other = write_log(tmp_path / "other.mcap", summing_bundle(tmp_path))
    code, report = parity(capsys, str(bundle), "--log", str(other))
    assert (code, report["found"]) == (2, f"{N} and {N}")
    short = write_log(tmp_path / "short.mcap", bundle, ticks=0)
    assert parity(capsys, str(bundle), "--log", str(short))[0] == 2
    code, report = parity(capsys, str(bundle / "policy.onnx"), "--log", str(other))
    assert (code, report["expected"].split(",")[0]) == (2, "a bundle or manifest")


# ---- refusals


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--backends", "cpu-unoptimised,npu"], "--backends"),
        (["--backends", "cuda"], "backend"),
        (["--backends", "engine"], "fp32 engine of"),
        (["--ticks", "0"], "--ticks"),
        (["--source", "none.pt"], "--source"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    code, report = parity(capsys, str(tiny_bundle.make(tmp_path)), *words)
    assert code == 2
    assert report["what"].startswith(what)


def test_a_tampered_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = deep_bundle(tmp_path)
    deep(bundle / "policy.onnx", spoil=0.5)
    assert parity(capsys, str(bundle), "--ticks", "5")[0] == 2


def test_a_network_no_computation_knows_is_refused(tmp_path: Path) -> None:
    path = tiny_onnx.write(tmp_path / "texts.onnx", [node("Identity", ["obs"], ["action"])],
                           [("obs", STRING, (1, 4))], [("action", STRING, (1, 4))])
    with pytest.raises(Refused):
        open_subject(str(path), None, None, 5, 0)
    with pytest.raises(Refused, match="one this onnxruntime can load"):
        OnSession(b"nonsense")
    with pytest.raises(Refused, match="operators it implements"):
        InNumpy(b"nonsense")
