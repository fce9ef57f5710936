"""Training, exporting and measuring a learned estimator, and its bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torch_module import torch_or_skip

torch = torch_or_skip()
pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("nacl", reason="missing dependency: PyNaCl")
pytest.importorskip("mujoco", reason="missing dependency: mujoco")

import exoactor
from export import estimator_command
from export.bundle_check import verify
from export.bundle_signing import sign_bundle
from export.estimator_bundle import write_estimator_bundle
from export.estimator_evaluation import COLUMNS, evaluate, table
from export.estimator_network import EstimatorNetwork, estimator_manifest
from export.estimator_rollouts import KINDS, Rollout, Scenario, Source, plan, play
from export.estimator_training import Trainer, checked, observe, parity, sequence
from export.learning import Course
from runtime.classical_estimator import ClassicalEstimator
from runtime.errors import Refused
from runtime.estimator import ESTIMATORS, estimator_names, open_estimator, open_learned
from runtime.golden import pack, unpack
from runtime.learned_estimator import LearnedEstimator
from runtime.model import Model
from runtime.robot import load_robot
from tests.planted import ROBOT, planted
from tests.shared_data import shared_data
from tests.synthetic_rollouts import rollouts

STEPS = 30


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return estimator_manifest("small", ROBOT, 50.0)


@pytest.fixture(scope="module")
def lessons(manifest: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return observe(checked(manifest), rollouts())


def train(lessons: tuple[np.ndarray, np.ndarray], checkpoint: Path | None = None, *, until: int | None = None,
          resume: bool = False, seed: int = 3) -> tuple[EstimatorNetwork, list[tuple[int, float]]]:
    torch.manual_seed(seed)
    network, curve = EstimatorNetwork(lessons[0].shape[1], (16,)), []
    trainer = Trainer(network, *lessons, Course(STEPS, seed), checkpoint)
    if resume:
        trainer.resume()
    trainer.run(lambda step, loss: curve.append((step, loss)), until)
    return network, curve


def same(a: EstimatorNetwork, b: EstimatorNetwork) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_an_untrained_network_is_the_filter(lessons: tuple[np.ndarray, np.ndarray]) -> None:
    network, _ = train(lessons, until=0)
    with torch.no_grad():
        said = network(torch.from_numpy(lessons[0])).numpy()
    np.testing.assert_allclose(said[:, :4], lessons[0][:, :4], atol=1e-6)
    np.testing.assert_allclose(said[:, 4:], 0.5)


def test_training_learns_what_the_filter_does_not_know(lessons: tuple[np.ndarray, np.ndarray]) -> None:
    _, curve = train(lessons)
    torch.manual_seed(3)
    network = EstimatorNetwork(lessons[0].shape[1], (16,))
    trainer = Trainer(network, *lessons, Course(400, 3))
    trainer.run(lambda step, loss: curve.append((step, loss)))
    with torch.no_grad():
        error = network(torch.from_numpy(lessons[0])).numpy()[:, :3] - lessons[1][:, :3]
    filtered = lessons[0][:, :3] - lessons[1][:, :3]
    assert np.sqrt((error**2).mean()) < 0.6 * np.sqrt((filtered**2).mean())


def test_a_resumed_training_ends_where_an_unbroken_one_does(
    tmp_path: Path, lessons: tuple[np.ndarray, np.ndarray]
) -> None:
    whole, curve = train(lessons)
    assert curve[-1][0] == STEPS
    train(lessons, tmp_path / "c.pt", until=STEPS // 2)
    resumed, rest = train(lessons, tmp_path / "c.pt", resume=True)
    assert same(whole, resumed)
    assert rest[-1][0] == STEPS
    assert not same(whole, train(lessons, seed=4)[0])


def test_a_checkpoint_of_another_course_is_refused(tmp_path: Path, lessons: tuple[np.ndarray, np.ndarray]) -> None:
    train(lessons, tmp_path / "c.pt", until=5)
    with pytest.raises(Refused, match=r"checkpoint.*course"):
        train(lessons, tmp_path / "c.pt", resume=True, seed=4)


def test_torch_and_onnx_agree_to_1e_5(lessons: tuple[np.ndarray, np.ndarray]) -> None:
    network, _ = train(lessons)
    assert parity(network, lessons[0]) <= 1e-5


def test_training_sees_what_the_runtime_sees(
    manifest: dict[str, Any], lessons: tuple[np.ndarray, np.ndarray]
) -> None:
    network, _ = train(lessons)
    estimator = LearnedEstimator(checked(manifest), Model(network.onnx()))
    first, state = rollouts()[0], planted()
    for i, floats in enumerate(first.states):
        state.floats[:] = floats
        estimator.update(state)
        np.testing.assert_array_equal(estimator.network.observations[0][0].values, lessons[0][i])


@pytest.fixture
def bundle(tmp_path: Path, manifest: dict[str, Any], lessons: tuple[np.ndarray, np.ndarray]) -> Path:
    network, _ = train(lessons)
    return write_estimator_bundle(tmp_path / "small", manifest, network.onnx(), sequence(rollouts(), 20), {},
                                  {"seed": 3})


def test_a_bundle_is_opened_verified_and_for_its_robot_and_rate_only(bundle: Path) -> None:
    findings = verify(bundle)
    assert [finding.check for finding in findings if not finding.ok] == []
    assert {finding.check for finding in findings} >= {"signature", "manifest", "golden vectors"}
    estimator, warnings = open_estimator(str(bundle), ROBOT, 50.0)
    assert (estimator.name, warnings) == ("small", ())
    with pytest.raises(Refused, match="100 Hz"):
        open_estimator(str(bundle), ROBOT, 100.0)
    with pytest.raises(Refused, match="g1_23dof"):
        open_estimator(str(bundle), load_robot("g1_23dof"), 50.0)
    assert not verify(bundle, "g1_23dof")[-2].ok


@pytest.mark.parametrize("name", ["estimator.json", "estimator.onnx", "golden.npz", "CARD.md", "bundle.json"])
def test_a_flipped_byte_in_any_file_of_an_estimator_is_refused(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))
    with pytest.raises(Refused):
        open_learned(bundle)
    assert not all(finding.ok for finding in verify(bundle))


def test_an_unsigned_estimator_is_refused_and_let_pass_aloud(bundle: Path) -> None:
    (bundle / "bundle.sig").unlink()
    with pytest.raises(Refused, match="trusted key"):
        open_estimator(str(bundle), ROBOT, 50.0)
    _, warnings = open_estimator(str(bundle), ROBOT, 50.0, allow_unsigned=True)
    assert "no signature" in warnings[0]


def test_signing_again_keeps_states_and_records_estimates_anew(bundle: Path) -> None:
    golden = unpack((bundle / "golden.npz").read_bytes())
    (bundle / "golden.npz").write_bytes(pack({**golden, "estimate": golden["estimate"] + 0.1}))
    assert "golden vectors" in sign_bundle(bundle).objection
    signed = sign_bundle(bundle, new_golden=True)
    assert (signed.objection, signed.changed) == ("", ["golden.npz"])
    again = unpack((bundle / "golden.npz").read_bytes())
    np.testing.assert_array_equal(again["state"], golden["state"])
    np.testing.assert_allclose(again["estimate"], golden["estimate"], atol=1e-6)


def pretend(scenarios: Sequence[Scenario], folder: Path, progress: Any = iter) -> list[Rollout]:
    """Rollouts that need no simulator, for the same scenarios."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [scenario.kind for scenario in progress(scenarios)]
    return [part for part, _ in zip(rollouts(len(kinds)), kinds, strict=True)]


def test_the_command_trains_resumes_and_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimator_command, "collect", pretend)
    out = tmp_path / "mine"
    words = ["export", "estimator", "--controller", "holosoma-velocity", "--minutes", "0.02", "--held-out", "5",
             "--seed", "1", "--json"]
    assert exoactor.main([*words, "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["parity"] <= 1e-5
    assert set(result["scores"]) == {"learned", "classical"}
    assert set(result["scores"]["learned"]["walk"]) == set(COLUMNS)
    assert "velocity" in (out / "CARD.md").read_text("utf-8")
    curve = [json.loads(line) for line in (tmp_path / "mine.training" / "curve.jsonl").read_text("utf-8").splitlines()]
    assert curve[-1]["step"] == result["steps"]
    assert exoactor.main([*words, "--out", str(out)]) == 2
    assert "--resume" in capsys.readouterr().out
    before = (out / "estimator.onnx").read_bytes()
    assert exoactor.main([*words, "--out", str(out), "--resume"]) == 0
    assert (out / "estimator.onnx").read_bytes() == before
    capsys.readouterr()
    assert exoactor.main([*words, "--evaluate", str(out), "--rollouts", str(tmp_path / "held")]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["classical"]["all"]["velocity_rmse_m_s"] > 0


@pytest.mark.parametrize(("words", "named"), [
    (["--out", "x"], "--controller"),
    (["--controller", "holosoma-velocity"], "--evaluate"),
    (["--controller", "holosoma-velocity", "--out", "x", "--evaluate", "y"], "--evaluate"),
    (["--controller", "holosoma-velocity", "--out", "x", "--minutes", "0"], "--minutes"),
    (["--controller", "twist2", "--motions", "nowhere", "--out", "x"], "--motions"),
])
def test_a_command_that_makes_no_sense_is_refused(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exoactor.main(["export", "estimator", *words]) == 2
    assert named in capsys.readouterr().err


def test_held_out_scenarios_share_neither_seed_nor_clip_with_training() -> None:
    sources = [Source("holosoma-velocity", "m"), Source("twist2", "t", ("a", "b", "c", "d"))]
    training, held = plan(sources, 40, 0), plan(sources, 40, 0, held_out=True)
    assert {scenario.kind for scenario in held} == set(KINDS)
    assert not {scenario.seed for scenario in training} & {scenario.seed for scenario in held}
    assert {scenario.clip for scenario in held} == {None, "d"}
    assert {scenario.clip for scenario in training} == {None, "a", "b", "c"}
    assert plan(sources, 40, 0) == training


def test_the_table_sets_estimators_side_by_side() -> None:
    scores = evaluate(ClassicalEstimator(ROBOT, 50.0), rollouts(), ROBOT.motors)
    text = table({"learned": scores, "classical": scores})
    assert all(kind in text for kind in (*KINDS, "all"))
    assert f"{scores['walk']['velocity_rmse_m_s']:.4f}" in text


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Rollout:
    source = Source("holosoma-velocity", str(shared_data("policies/ppo_g1_29dof.onnx")))
    return play(Scenario("walk", source, None, 77, seconds=3.0), tmp_path_factory.mktemp("walk"))


def test_a_rollout_is_what_sensors_said_and_what_was_true(walked: Rollout, tmp_path: Path) -> None:
    assert walked.states.shape == (len(walked.height), 97)
    assert len(walked.height) > 150
    assert 0.6 < walked.height.min() < walked.height.max() < 0.9
    assert 0.3 < walked.contact.mean() < 1.0
    walked.save(tmp_path / "r.npz")
    np.testing.assert_array_equal(Rollout.load(tmp_path / "r.npz").states, walked.states)


def test_squats_bend_the_knees(tmp_path: Path) -> None:
    source = Source("twist2", str(shared_data("policies/twist2_1017_20k.onnx")))
    rollout = play(Scenario("squat", source, None, 5, seconds=3.0), tmp_path)
    assert np.ptp(rollout.height) > 0.03
    assert rollout.contact.mean() > 0.95


@pytest.mark.parametrize("name", estimator_names())
def test_a_shipped_estimator_knows_a_walk_it_has_not_seen(name: str, walked: Rollout) -> None:
    opened = open_learned(ESTIMATORS / name, allow_unsigned=True)
    learned = evaluate(opened.estimator, [walked], ROBOT.motors)["walk"]
    classical = evaluate(ClassicalEstimator(ROBOT, 50.0), [walked], ROBOT.motors)["walk"]
    assert learned["velocity_rmse_m_s"] <= min(0.08, classical["velocity_rmse_m_s"])
    assert learned["height_rmse_m"] <= 0.01
    assert learned["contact_agreement"] >= 0.9
    assert classical["velocity_rmse_m_s"] <= 0.1


def test_an_estimator_ships() -> None:
    assert "g1-proprioception" in estimator_names()
    assert (ESTIMATORS / "g1-proprioception" / "estimator.onnx").stat().st_size <= 1 << 20
