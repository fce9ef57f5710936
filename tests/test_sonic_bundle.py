"""SONIC's networks as bundles: what belongs together, what is refused, tokens from outside, random runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("yaml", reason="missing dependency: PyYAML")
pytest.importorskip("nacl", reason="missing dependency: PyNaCl")

from export import sonic_synthetic as synthetic
from export.command import JOBS
from export.sonic import SonicConfig, config_yaml, make_manifest, published_config
from export.sonic_bundle import Parts, bundle_sonic, check_pair, lerobot_tables
from export.sonic_names import JOINTS
from export.sonic_published import DECODER, PAIRS
from runtime.clip import make_clip, save_clip
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.layouts import LAYOUTS
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.policy import Policy
from runtime.robot import JointOrder, load_robot
from runtime.settings import RunSettings
from runtime.state import RobotState
from tests import sonic_reference as slow
from tests.stub_model import StubModel
from tests.tiny_onnx import FLOAT, node, write


def parts(layout: str, seed: int = 0) -> Parts:
    config = published_config(layout)
    return Parts(config, config_yaml(config).encode(), synthetic.synthetic_encoder(config, seed),
                 synthetic.synthetic_decoder(config, seed), {})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "sonic"
    bundle_sonic(out, "sonic", parts("sonic/default"))
    return out


def clip_file(folder: Path, seconds: float = 1.0, **channels: Any) -> Path:
    """A robot at rest in SONIC's default pose, with channels."""
    count = round(seconds * 50)
    pose = np.array([slow.DEFAULT_MOTOR[motor] for motor in slow.MUJOCO_TO_ISAACLAB])
    rows = {name: np.tile(value, (count, 1)) for name, value in channels.items()}
    clip = make_clip("rest", 50.0, JointOrder(JOINTS), np.tile(pose, (count, 1)), np.tile([0, 0, 0.79], (count, 1)),
                     np.tile([1.0, 0, 0, 0], (count, 1)), rows)
    save_clip(folder / "rest.npz", clip)
    return folder / "rest.npz"


def settings(bundle: Path, clip: Path, **changes: Any) -> RunSettings:
    return RunSettings(**{
        "controller": str(bundle), "robot": "g1_29dof", "model": None, "clip": str(clip), "command": (0.0, 0.0, 0.0),
        "duration_s": None, "target": "sim", "domain": 0, "interface": None, "peers": (), "out": "", **changes,
    })


SMPL = {"smpl_joints": np.zeros(72), "smpl_quat_wxyz": np.array([1.0, 0, 0, 0])}
VR = {"vr_position": np.zeros(9), "vr_orientation": np.tile([1.0, 0, 0, 0], 3)}


# ---- the networks


@pytest.mark.parametrize("layout", ["sonic/default", "sonic/v1_1", "sonic/low_latency"])
def test_synthetic_networks_have_the_published_signatures_and_levels(layout):
    made = parts(layout)
    encoder, decoder = Model(made.encoder), Model(made.decoder)
    assert {name: array.shape for name, array in encoder.inputs.items()} == {"obs_dict": (1, slow.SIZES[layout])}
    assert {name: array.shape for name, array in encoder.outputs.items()} == {"encoded_tokens": (1, 64)}
    assert {name: array.shape for name, array in decoder.inputs.items()} == {"obs_dict": (1, 994)}
    assert {name: array.shape for name, array in decoder.outputs.items()} == {"action": (1, 29)}
    rng, seen = np.random.default_rng(0), set()
    for mode in range(3):
        encoder.inputs["obs_dict"][0] = rng.normal(size=slow.SIZES[layout])
        encoder.inputs["obs_dict"][0, :4] = [mode, 0, 0, 0]
        encoder.run()
        levels = encoder.outputs["encoded_tokens"] * 16
        assert (levels == np.round(levels)).all() and levels.min() >= -16 and levels.max() <= 15
        seen.add(levels.tobytes())
    assert len(seen) == 3


def test_synthetic_networks_are_the_same_for_the_same_seed_only():
    assert parts("sonic/v1_1", 3) == parts("sonic/v1_1", 3)
    assert parts("sonic/v1_1", 3).encoder != parts("sonic/v1_1", 4).encoder


def test_the_token_of_the_synthetic_encoder_is_the_quantisation_of_the_paper():
    half, shift = synthetic._levels()
    z = np.linspace(-9, 9, 2001)
    level = np.round(np.tanh(z + shift) * half - 0.5)
    assert sorted(set(level)) == list(range(-16, 16))
    assert np.round(np.tanh(shift) * half - 0.5) == 0


# ---- what belongs together


def test_a_bundle_knows_its_layout_and_its_files(bundle):
    manifest = json.loads((bundle / "controller.json").read_text())
    assert manifest["layout"] == "sonic/default"
    listing = json.loads((bundle / "bundle.json").read_text())
    made = parts("sonic/default")
    assert listing["provenance"]["sha256"] == made.hashes()
    assert listing["provenance"]["layout"] == "sonic/default"
    assert listing["provenance"]["pair"].startswith("unknown")
    assert set(listing["files"]) == {"controller.json", "encoder.onnx", "decoder.onnx", "observation_config.yaml",
                                     "golden.npz", "CARD.md"}
    assert manifest["stages"][0]["model"]["sha256"] == hashlib.sha256(made.encoder).hexdigest()
    golden = np.load(bundle / "golden.npz")
    assert set(golden["place.mode"].reshape(-1)) == {0, 1, 2, 3}


@pytest.mark.parametrize(("change", "said"), [
    (lambda p: replace(p, encoder=parts("sonic/v1_1").encoder), "input obs_dict of 1762"),
    (lambda p: replace(p, encoder=p.decoder, decoder=p.encoder), "output action of 29"),
    (lambda p: replace(p, encoder=None), "exactly where there is an encoder"),
    (lambda p: replace(p, config=SonicConfig(DECODER)), "exactly where there is an encoder"),
])
def test_files_that_cannot_belong_together_are_refused(tmp_path, change, said):
    with pytest.raises(Refused, match=said):
        bundle_sonic(tmp_path / "b", "sonic", change(parts("sonic/default")))
    assert not (tmp_path / "b").exists()


def test_other_tensor_names_are_refused(tmp_path):
    path = write(tmp_path / "e.onnx", [node("MatMul", ["obs", "W"], ["encoded_tokens"])], [("obs", FLOAT, (1, 1762))],
                 [("encoded_tokens", FLOAT, (1, 64))], {"W": np.zeros((1762, 64), np.float32)})
    with pytest.raises(Refused, match="input obs of 1762"):
        bundle_sonic(tmp_path / "b", "sonic", replace(parts("sonic/default"), encoder=path.read_bytes()))


def row_of(made: Parts, layout: str) -> dict[str, str]:
    return {**made.hashes(), "layout": layout}


def test_known_networks_with_a_config_of_equal_size_are_refused(tmp_path):
    made = parts("sonic/v1_1")
    other = published_config("sonic/release_python_names")
    swapped = replace(made, config=other, config_yaml=config_yaml(other).encode())
    pairs = [row_of(made, "sonic/v1_1")]
    assert bundle_sonic(tmp_path / "right", "sonic", made, pairs=pairs)[1:] == ("sonic/v1_1", "known: sonic/v1_1")
    with pytest.raises(Refused, match="the layout of these networks, sonic/v1_1, found sonic/release_python_names"):
        bundle_sonic(tmp_path / "wrong", "sonic", swapped, pairs=pairs)


def test_a_known_network_takes_no_other_partner():
    a, b = row_of(parts("sonic/v1_1"), "sonic/v1_1"), row_of(parts("sonic/default", 1), "sonic/default")
    for part in ("encoder", "decoder"):
        with pytest.raises(Refused, match="of one release"):
            check_pair("sonic/v1_1", {**a, part: b[part]}, [a, b])
    assert check_pair("sonic/v1_1", a, [a, b]) == "known: sonic/v1_1"
    shared = {**b, "decoder": a["decoder"]}
    assert check_pair("sonic/v1_1", a, [shared, a]) == "known: sonic/v1_1", "two releases may share a decoder"
    assert check_pair("custom/1", {**a, "config": "changed", "encoder": "e", "decoder": "d"}, [a, b])[:7] == "unknown"
    assert check_pair("custom/1", a, [a, b]) == "known: sonic/v1_1", "the published file itself says what the layout is"
    with pytest.raises(Refused, match="layout of these networks"):
        check_pair("custom/1", {**a, "config": "changed"}, [a, b])


def test_the_published_pairs_are_three_and_distinct():
    assert [row["layout"] for row in PAIRS] == ["sonic/default", "sonic/v1_1", "sonic/low_latency"]
    hashes = [row[part] for row in PAIRS for part in ("encoder", "decoder", "config")]
    assert len(set(hashes)) == 9 and all(len(text) == 64 for text in hashes)
    assert {row["layout"] for row in PAIRS} <= set(LAYOUTS)


def test_a_manifest_permuted_after_export_is_refused(tmp_path, bundle):
    data = json.loads((bundle / "controller.json").read_text())
    terms = data["stages"][0]["inputs"][0]["blocks"][0]["terms"]
    assert terms[5]["label"] == "motion_anchor_orientation"
    terms[5], terms[6] = terms[6], terms[5]
    for name in ("encoder.onnx", "decoder.onnx"):
        (tmp_path / name).write_bytes((bundle / name).read_bytes())
    (tmp_path / "controller.json").write_text(json.dumps(data))
    clip = clip_file(tmp_path)
    with pytest.raises(Refused, match="inputs laid out as sonic/default, found those of custom/"):
        Policy(settings(tmp_path, clip))
    data["layout"] = "sonic/no_such"
    (tmp_path / "controller.json").write_text(json.dumps(data))
    with pytest.raises(Refused, match=r"one of sonic/default, .*found sonic/no_such"):
        Policy(settings(tmp_path, clip))


# ---- modes and what they read


@pytest.mark.parametrize(("mode", "channels", "missing"), [
    ("teleop", {}, "vr_orientation, vr_position"), ("teleop", {"vr_position": VR["vr_position"]}, "vr_orientation"),
    ("smpl", {}, "smpl_joints, smpl_quat_wxyz"), ("token", {}, "token"),
])
def test_a_mode_of_which_the_clip_lacks_the_data_is_refused_at_start(tmp_path, bundle, mode, channels, missing):
    with pytest.raises(Refused, match=rf"in mode {mode}.*missing {missing}\)"):
        Policy(settings(bundle, clip_file(tmp_path, **channels), mode=mode))


@pytest.mark.parametrize(("mode", "channels"), [(None, {}), ("g1", {}), ("teleop", VR), ("smpl", SMPL),
                                               ("token", {"token": np.zeros(64)})])
def test_a_mode_of_which_the_clip_has_the_data_starts(tmp_path, bundle, mode, channels):
    policy = Policy(settings(bundle, clip_file(tmp_path, **channels), mode=mode))
    assert policy.controller.mode == (mode or "g1")
    assert policy.log["observation"].size == 1762 + 994


def test_a_mode_nobody_knows_is_refused(tmp_path, bundle):
    with pytest.raises(Refused, match="one of g1, teleop, smpl, token, found dance"):
        Policy(settings(bundle, clip_file(tmp_path), mode="dance"))


def test_tokens_from_outside_replace_the_encoder(tmp_path):
    config = published_config("sonic/default")
    (tmp_path / "controller.json").write_text(json.dumps(make_manifest(config, "sonic")))
    encoder = StubModel({"obs_dict": 1762}, {"encoded_tokens": 64},
                        lambda model: model.outputs["encoded_tokens"].fill(0.5))
    controller = Controller(load_manifest(str(tmp_path)), StubModel({"obs_dict": 994}, {"action": 29}),
                            {"encoder": encoder})
    decoder, state = controller.observations[1][0].values, RobotState(29)
    controller.tick(state)
    assert (encoder.runs, set(decoder[:64])) == (1, {0.5})
    controller.set_mode("token")
    tokens = np.arange(64) / 16
    controller.window.now.channels["token"][:] = tokens
    controller.tick(state)
    assert encoder.runs == 1
    np.testing.assert_array_equal(decoder[:64], tokens.astype(np.float32))
    controller.set_mode("g1")
    controller.tick(state)
    assert (encoder.runs, set(decoder[:64])) == (2, {0.5})


# ---- decoder alone


def lerobot(**changes: Any) -> dict[str, str]:
    values: dict[str, Any] = {
        "kp": [slow.gains(i)[0] for i in range(29)], "kd": [slow.gains(i)[1] for i in range(29)],
        "default_angles": slow.DEFAULT_MOTOR, "action_scale": [slow.scale(i) for i in range(29)],
        "neutral_token": [k / 16 for k in range(-32, 32)], **changes,
    }
    return {key: json.dumps(value) for key, value in values.items() if value is not None}


def decoder_file(path: Path, metadata: dict[str, str]) -> bytes:
    weights = np.random.default_rng(0).normal(0, 0.01, (994, 29)).astype(np.float32)
    return write(path, [node("MatMul", ["obs_dict", "W"], ["action"])], [("obs_dict", FLOAT, (1, 994))],
                 [("action", FLOAT, (1, 29))], {"W": weights}, metadata).read_bytes()


def token_parts(data: bytes) -> Parts:
    config = SonicConfig(DECODER)
    return Parts(config, config_yaml(config).encode(), None, data, {})


def test_a_decoder_alone_idles_on_its_neutral_token_and_follows_tokens_of_a_clip(tmp_path):
    out = tmp_path / "b"
    data = decoder_file(tmp_path / "d.onnx", lerobot())
    assert bundle_sonic(out, "decoder", token_parts(data))[1] == "sonic/decoder"
    policy = Policy(settings(out, clip_file(tmp_path, token=np.full(64, 0.25))))
    idle = policy.pilot._idle.channels["token"]
    np.testing.assert_allclose(idle, [k / 16 for k in range(-32, 32)])
    assert set(policy.pilot._first.channels["token"]) == {0.25}
    for motor in range(29):
        np.testing.assert_allclose(policy.controller.target[motor, 3:], slow.gains(motor), rtol=1e-5)
    with pytest.raises(Refused, match=r"missing token\)"):
        Policy(settings(out, clip_file(tmp_path)))


@pytest.mark.parametrize(("metadata", "said"), [
    ({}, "missing kp, kd, action_scale, default_angles, neutral_token"),
    (lerobot(neutral_token=None), "missing neutral_token"),
    (lerobot(kp=[1.0] * 28), "a JSON list of 29 finite numbers"),
    (lerobot(neutral_token=[0.0] * 63), "a JSON list of 64 finite numbers"),
    ({**lerobot(), "kd": "nonsense"}, "a JSON list of 29 finite numbers"),
    (lerobot(kp=[slow.gains(i)[0] for i in slow.MUJOCO_TO_ISAACLAB]), "another order"),
])
def test_a_decoder_that_does_not_say_what_it_needs_is_refused(tmp_path, metadata, said):
    with pytest.raises(Refused, match=said):
        bundle_sonic(tmp_path / "b", "decoder", token_parts(decoder_file(tmp_path / "d.onnx", metadata)))


def test_metadata_is_read_in_motor_order():
    tables, neutral = lerobot_tables(lerobot(), needed=True)
    assert tables is not None and neutral is not None
    names = [joint.name for joint in sorted(load_robot("g1_29dof").joints, key=lambda joint: joint.motor)]
    assert [tables["pose"][name] for name in names] == slow.DEFAULT_MOTOR
    assert lerobot_tables({}, needed=False) == (None, None)


# ---- the command, and whole runs


def export(*words: str) -> int:
    import argparse
    import importlib

    job = importlib.import_module(JOBS["sonic"][0])
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    return int(job.run(parser.parse_args(words)))


def test_the_command_takes_files_and_says_what_it_knows_of_them(tmp_path, capsys):
    made = parts("sonic/low_latency")
    for name, data in (("e.onnx", made.encoder), ("d.onnx", made.decoder), ("c.yaml", made.config_yaml)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "pairs.json").write_text(json.dumps([row_of(made, "sonic/low_latency")]))
    words = ["--encoder", str(tmp_path / "e.onnx"), "--decoder", str(tmp_path / "d.onnx"),
             "--observation-config", str(tmp_path / "c.yaml"), "--known-pairs", str(tmp_path / "pairs.json"),
             "--gain-factor", "left_ankle_pitch_joint=1.5", "--out", str(tmp_path / "b")]
    assert export(*words) == 0
    out = capsys.readouterr().out
    assert "layout sonic/low_latency" in out and "pair known: sonic/low_latency" in out
    manifest = load_manifest(str(tmp_path / "b"))
    assert manifest.kp_factor is not None and manifest.kp_factor.max() == 1.5


@pytest.mark.parametrize("words", [
    ["--out", "b"], ["--encoder", "e.onnx", "--decoder", "d.onnx", "--out", "b"],
    ["--synthetic", "v1_1", "--decoder", "d.onnx", "--out", "b"], ["--decoder", "no-such-file.onnx", "--out", "b"],
])
def test_the_command_refuses_half_a_release(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        export(*words)


@pytest.mark.parametrize("mode", ["g1", "smpl", "token"])
def test_a_whole_run_of_random_networks_is_reproducible(tmp_path, bundle, mode):
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.simulated_robot import SimulatedRobot
    from runtime.lockstep import run_lockstep
    from runtime.log_file import read_log

    clip = clip_file(tmp_path, **SMPL, token=np.zeros(64))
    runs = []
    for name in ("a", "b"):
        out = tmp_path / name
        out.mkdir()
        told = settings(bundle, clip, mode=mode, out=str(out))
        run_lockstep(told, Policy(told), SimulatedRobot(), out, (float("inf"), 0))
        runs.append(read_log(out / "log.mcap").topics["policy"])
    assert len(runs[0]) > 100
    for field in ("observation", "action", "target", "phase"):
        np.testing.assert_array_equal(runs[0][field], runs[1][field])
    observed = runs[0]["observation"]
    assert observed.shape[1] == 1762 + 994
    tracked = runs[0]["phase"] >= 3
    assert np.abs(runs[0]["action"][tracked]).max() > 0
    assert (observed[tracked][:, 0] == {"g1": 0, "smpl": 2, "token": 0}[mode]).all()
