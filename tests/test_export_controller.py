"""`exoactor export controller` from file to bundle, and the bundle at work: same numbers, no state left from before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from tests.torch_module import torch_or_skip
from tests.trained_networks import ACTION, OBSERVATION, TERMS, manifest, state_dict, words, write_manifest

torch = torch_or_skip()
pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from export.conversion_check import OBSERVATIONS, TOLERANCE, compare, refuse_disagreement
from export.onnx_file import OnnxSource
from export.plausible import plausible_ticks
from runtime.admission import admit
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.faults import Mode
from runtime.golden import record
from runtime.policy import Policy, open_admitted
from runtime.robot import load_robot
from runtime.settings import RunSettings
from runtime.state import RobotState
from tests import tiny_bundle, tiny_onnx
from tests.shared_data import shared_data
from tests.tiny_onnx import FLOAT, node

SIZES = [OBSERVATION, 16, ACTION]


class LstmPolicy(torch.nn.Module):
    """As unitree_rl_gym exports one."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.LSTM(OBSERVATION, 8, 1)
        self.actor = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ELU(), torch.nn.Linear(8, ACTION))
        self.register_buffer("hidden_state", torch.zeros(1, 1, 8))
        self.register_buffer("cell_state", torch.zeros(1, 1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, (h, c) = self.memory(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        return self.actor(out.squeeze(0))

    @torch.jit.export
    def reset_memory(self) -> None:
        self.hidden_state[:] = 0.0
        self.cell_state[:] = 0.0


def save_lstm(folder: Path) -> Path:
    torch.manual_seed(4)
    torch.jit.script(LstmPolicy()).save(str(folder / "motion.pt"))
    return folder / "motion.pt"


def save_checkpoint(folder: Path, sizes: list[int] = SIZES) -> Path:
    mean, std = torch.full((1, sizes[0]), 0.1), torch.full((1, sizes[0]), 0.8)
    model = {**state_dict(torch, "actor", sizes), **state_dict(torch, "critic", [sizes[0], 4, 1]),
             "std": torch.ones(ACTION), "actor_obs_normalizer._mean": mean, "actor_obs_normalizer._std": std}
    torch.save({"model_state_dict": model, "iter": 3, "infos": None}, folder / "model_3.pt")
    return folder / "model_3.pt"


def save_onnx(folder: Path) -> Path:
    weights = 0.2 * np.random.default_rng(1).normal(size=(OBSERVATION, ACTION)).astype(np.float32)
    return tiny_onnx.write(
        folder / "policy.onnx", [node("MatMul", ["obs", "W"], ["h"]), node("Tanh", ["h"], ["action"])],
        [("obs", FLOAT, ("batch", OBSERVATION))], [("action", FLOAT, ("batch", ACTION))], {"W": weights},
        {"joint_names": ",".join(manifest()["joints"]), "joint_stiffness": "70", "urdf_path": f"{folder}/g1.urdf"},
    )


def export(source: Path, manifest_file: Path, out: Path, *more: str) -> int:
    return exoactor.main(["export", "controller", "--from", str(source), "--manifest", str(manifest_file), "--out",
                          str(out), *more])


@pytest.fixture(scope="module")
def lstm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lstm")
    assert export(save_lstm(folder), write_manifest(folder), folder / "bundle") == 0
    return folder / "bundle"


def opened(bundle: Path) -> Controller:
    return open_admitted(admit(str(bundle)))


# ---- from file to bundle


@pytest.mark.parametrize(("save", "kind"), [
    (save_lstm, "TorchScript"), (save_checkpoint, "PyTorch checkpoint (rsl_rl)"), (save_onnx, "ONNX"),
], ids=["torchscript", "checkpoint", "onnx"])
def test_a_trained_network_becomes_a_bundle_that_a_robot_opens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], save: Callable[[Path], Path], kind: str
) -> None:
    assert export(save(tmp_path), write_manifest(tmp_path), tmp_path / "bundle", "--json", "--name", "mine") == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert said["kind"] == kind and said["bundle"] == str(tmp_path / "bundle")
    assert said["parity"]["observations"] == OBSERVATIONS == 1000
    assert 0 <= said["parity"]["mean_action_error"] <= said["parity"]["max_action_error"] <= TOLERANCE == 1e-5
    assert words(printed.err).startswith(f"... reading {save(tmp_path).name} ... comparing with the original on 1,000")
    controller = opened(tmp_path / "bundle")
    assert controller.manifest.name == "mine"
    assert controller.manifest.recurrent == tuple(map(tuple, said["recurrent"]))
    provenance = json.loads((tmp_path / "bundle" / "bundle.json").read_text("utf-8"))["provenance"]
    assert provenance["source"]["kind"] == kind and provenance["parity"] == said["parity"]
    assert not [file for file in (tmp_path / "bundle").iterdir() if str(tmp_path).encode() in file.read_bytes()]


def test_the_table_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(save_checkpoint(tmp_path), write_manifest(tmp_path), tmp_path / "bundle") == 0
    printed = capsys.readouterr()
    table = words(printed.out)
    for piece in (
        "network model_3.pt: PyTorch checkpoint (rsl_rl), ",
        "layers model_state_dict.actor.0.weight 16 x 47 model_state_dict.actor.2.weight 12 x 16",
        "activation elu (the default of rsl_rl)", "normaliser (x - mean) / (std + 0.01) (rsl_rl)", "hidden state none",
        "over 1,000 observations (allowed 1e-05)", f"bundle {tmp_path / 'bundle'}",
    ):
        assert piece in table
    assert "WARNING: the file does not say which activation" in printed.err


def test_the_networks_own_numbers_are_written_into_the_manifest(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, gains={"kp": 1, "kd": 2}, model={"metadata": {"kp": "joint_stiffness"}})
    assert export(save_onnx(tmp_path), path, tmp_path / "bundle") == 0
    content = json.loads((tmp_path / "bundle" / "controller.json").read_text("utf-8"))
    assert content["gains"] == {"kp": 70, "kd": 2} and "metadata" not in content["model"]
    assert set(opened(tmp_path / "bundle").manifest.kp) == {70}


def test_a_published_network_needs_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared_data("policies/ppo_g1_29dof.onnx")
    assert exoactor.main(["export", "controller", "--from", str(source), "--out", str(tmp_path / "bundle")]) == 0
    assert "WARNING: the network does not say its rate" in capsys.readouterr().err
    assert opened(tmp_path / "bundle").manifest.kind == "velocity"


def test_a_robot_described_beside_the_manifest_comes_along(tmp_path: Path) -> None:
    table = json.loads((Path(load_robot.__code__.co_filename).parent / "robots" / "g1_29dof.json").read_text("utf-8"))
    (tmp_path / "robots").mkdir()
    (tmp_path / "robots" / "ours.json").write_text(json.dumps({**table, "name": "g1_ours"}), encoding="utf-8")
    path = write_manifest(tmp_path, robot="robots/ours.json")
    assert export(save_onnx(tmp_path), path, tmp_path / "bundle") == 0
    assert opened(tmp_path / "bundle").manifest.robot.name == "g1_ours"


def test_the_activation_may_stand_in_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_manifest(tmp_path, model={"activation": "relu"})
    assert export(save_checkpoint(tmp_path), path, tmp_path / "bundle", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["activation"] == "relu (as given)" and said["warnings"] == []


# ---- hidden state and starts


def starts_alike(controller: Controller, reset: Callable[[], None]) -> bool:
    """Whether two runs of the same ticks, each after a reset, give the same actions."""
    ticks = plausible_ticks(controller, 40, 3)
    state = RobotState(controller.manifest.robot.motors)
    runs = []
    for _ in range(2):
        reset()
        actions = []
        for tick in ticks:
            state.floats[:] = tick.state
            controller.tick(state)
            actions.append(controller.action.copy())
        runs.append(np.array(actions))
    return bool((runs[0] == runs[1]).all())


def forgetting_all_but_hidden_state(controller: Controller) -> Callable[[], None]:
    """`reset` with the fault that the test below must find."""
    hidden = [controller.model.inputs[name] for name, _ in controller.manifest.recurrent]

    def reset() -> None:
        kept = [values.copy() for values in hidden]
        controller.reset()
        for values, before in zip(hidden, kept, strict=True):
            values[...] = before

    return reset


def test_hidden_state_is_forgotten_at_every_start(lstm_bundle: Path) -> None:
    controller = opened(lstm_bundle)
    assert [pair[0] for pair in controller.manifest.recurrent] == ["hidden_state_in", "cell_state_in"]
    assert starts_alike(controller, controller.reset)
    assert not starts_alike(controller, forgetting_all_but_hidden_state(controller)), "this test must be able to fail"


def run_settings(bundle: Path, out: Path) -> RunSettings:
    return RunSettings(controller=str(bundle), robot="g1_29dof", model=None, clip=None, command=(0.3, 0, 0),
                       duration_s=1.0, target="sim", domain=0, interface=None, peers=(), out=str(out))


def first_action(policy: Policy) -> np.ndarray:
    policy.tick(Mode.TRACK, RobotState(policy.manifest.robot.motors), 1)
    return policy.controller.action.copy()


def test_a_run_begins_as_the_original_does_from_zero(
    lstm_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = run_settings(lstm_bundle, tmp_path)
    begun = Policy(settings)
    action = first_action(begun)
    original = torch.jit.load(str(save_lstm(tmp_path)))
    with torch.no_grad():
        expected = original(torch.tensor(begun.controller.observations[0][1].reshape(1, -1))).numpy()[0]
    np.testing.assert_allclose(action, expected, atol=1e-5)
    np.testing.assert_array_equal(first_action(Policy(settings)), action)
    # the 50 inferences at load do leave something behind where nothing forgets it
    skipped = Controller.reset
    monkeypatch.setattr(Controller, "reset", lambda self: forgetting_with(skipped, self))
    assert np.abs(first_action(Policy(settings)) - action).max() > 1e-4, "this test must be able to fail"


def forgetting_with(reset: Callable[[Controller], None], controller: Controller) -> None:
    kept = {name: controller.model.inputs[name].copy() for name, _ in controller.manifest.recurrent}
    reset(controller)
    for name, values in kept.items():
        controller.model.inputs[name][...] = values


def test_an_lstm_of_twelve_legs_runs_in_lockstep(lstm_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    out = tmp_path / "run"
    code = exoactor.main(["run", "--controller", str(lstm_bundle), "--command", "0.3,0,0", "--lockstep", "--duration",
                          "1", "--out", str(out)])
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert code in (0, 1) and report["outcome"] == ("done" if code == 0 else "fault")  # it was never trained to stand
    assert report["ticks"] > 0


# ---- what is refused, and leaves nothing behind


def refusal(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert code == 2
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["outcome"] == "refused" and said["what_to_do"]
    return said


@pytest.mark.parametrize("save", [save_lstm, save_onnx, save_checkpoint], ids=["torchscript", "onnx", "checkpoint"])
def test_a_manifest_of_another_size_is_refused_with_the_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], save: Callable[[Path], Path]
) -> None:
    path = write_manifest(tmp_path, inputs=[{"blocks": [{"terms": TERMS[:-1]}]}])
    said = refusal(capsys, export(save(tmp_path), path, tmp_path / "bundle", "--json"))
    assert "46" in said["expected"] + said["found"] and not (tmp_path / "bundle").exists()


def test_another_number_of_joints_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_checkpoint(tmp_path, [OBSERVATION, 16, ACTION + 1])
    said = refusal(capsys, export(source, write_manifest(tmp_path), tmp_path / "bundle", "--json"))
    assert said["expected"] == "an action of 12 joints" and not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(("name", "data"), [
    ("policy.pt", b"not a network"), ("policy.pt", b"PK\x03\x04 but no archive"), ("policy.pth", b"\x80\x04nonsense"),
    ("policy.onnx", b""), ("policy.bin", bytes(64)),
])
def test_a_file_that_is_no_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    refusal(capsys, export(tmp_path / name, write_manifest(tmp_path), tmp_path / "bundle", "--json"))
    assert not (tmp_path / "bundle").exists()


def test_absent_files_and_manifests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refusal(capsys, export(tmp_path / "absent.pt", write_manifest(tmp_path), tmp_path / "bundle", "--json"))
    refusal(capsys, export(save_onnx(tmp_path), tmp_path / "absent.json", tmp_path / "bundle", "--json"))
    (tmp_path / "list.json").write_text("[]")
    refusal(capsys, export(save_onnx(tmp_path), tmp_path / "list.json", tmp_path / "bundle", "--json"))
    source = str(save_lstm(tmp_path))
    said = refusal(capsys, exoactor.main(["export", "controller", "--from", source, "--out", str(tmp_path), "--json"]))
    assert said["what"] == "--manifest" and "only ONNX networks" in said["what_to_do"]


@pytest.mark.parametrize("changes", [
    {"robot": "absent.json"}, {"gains": [1, 2]}, {"action": 3}, {"joints": {}}, {"model": []}, {"inputs": "obs"},
    {"recurrent": 7}, {"default_pose": {"left_knee_joint": 1}}, {"stages": [{"model": {"file": "../encoder.onnx"}}]},
    {"stages": [{"model": {"file": "absent.onnx"}}]}, {"estimator": {"model": {"file": "/estimator.onnx"}}},
], ids=str)
@pytest.mark.parametrize("save", [save_onnx, save_checkpoint], ids=["onnx", "checkpoint"])
def test_a_manifest_that_is_wrong_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], save: Callable[[Path], Path], changes: dict[str, Any]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "encoder.onnx").write_bytes(b"beside the folder")
    path = write_manifest(tmp_path / "here", **changes)
    refusal(capsys, export(save(tmp_path), path, tmp_path / "bundle", "--json"))
    assert not (tmp_path / "bundle").exists()


def test_a_refusal_leaves_the_bundle_that_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(save_onnx(tmp_path), write_manifest(tmp_path), tmp_path / "bundle") == 0
    before = (tmp_path / "bundle" / "bundle.json").read_bytes()
    capsys.readouterr()
    other = save_checkpoint(tmp_path, [OBSERVATION, 4, 3])
    refusal(capsys, export(other, write_manifest(tmp_path), tmp_path / "bundle", "--json"))
    assert (tmp_path / "bundle" / "bundle.json").read_bytes() == before
    opened(tmp_path / "bundle")


# ---- the comparison itself


class Shifted:
    """An original that differs by a constant from `late` ticks on."""

    def __init__(self, source: OnnxSource, shift: float, late: int) -> None:
        self.source, self.shift, self.late, self.steps = source, shift, late, 0

    def reset(self) -> None:
        self.source.reset()

    def step(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.steps += 1
        shift = self.shift if self.steps > self.late else 0.0
        return {name: values.astype(np.float64) + shift for name, values in self.source.step(inputs).items()}


@pytest.mark.parametrize(("shift", "late", "fits"), [
    (0.0, 0, True), (0.9e-5, 0, True), (1.1e-5, 0, False), (1.1e-5, 999, False), (float("nan"), 999, False),
])
def test_a_conversion_within_tolerance_passes_and_one_beyond_is_refused(
    tmp_path: Path, shift: float, late: int, fits: bool
) -> None:
    bundle = tiny_bundle.make(tmp_path)
    controller = opened(bundle)
    source = Shifted(OnnxSource((bundle / "policy.onnx").read_bytes(), []), shift, late)
    agreement = compare(controller, source)
    assert source.steps == 1000
    if fits:
        refuse_disagreement("policy", agreement)
        assert agreement.max_action_error == pytest.approx(shift, abs=1e-9)
    else:
        with pytest.raises(Refused, match="outputs within 1e-05 of the original's"):
            refuse_disagreement("policy", agreement)


def test_the_comparison_leaves_the_controller_as_new(lstm_bundle: Path) -> None:
    controller = opened(lstm_bundle)
    ticks = plausible_ticks(controller, 5, 1)
    before = record(controller, ticks)["action"]
    itself = OnnxSource((lstm_bundle / "policy.onnx").read_bytes(), controller.manifest.recurrent)
    assert compare(controller, itself, 20).max_output_error == 0
    np.testing.assert_array_equal(record(controller, ticks)["action"], before)
