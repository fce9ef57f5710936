"""Checkpoints as RL libraries save them, against the arithmetic written out; what would be a guess is refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torch_module import torch_or_skip
from tests.trained_networks import state_dict

torch = torch_or_skip()
pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from export.checkpoint_conversion import Choices, convert_checkpoint
from export.source_network import Conversion
from runtime.errors import Refused
from runtime.model import Model

N, H, A = 7, 6, 3
SIZES = [N, H, A]
Array = np.ndarray


def convert(tmp_path: Path, checkpoint: Any, **choices: Any) -> Conversion:
    path = tmp_path / "model_100.pt"
    torch.save(checkpoint, path)
    return convert_checkpoint(path, "obs", "action", [], Choices(**choices))


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def layers(x: Array, tensors: dict[str, Any], names: list[str], activation: Callable[[Array], Array] = elu) -> Array:
    """Linear layers in float64, written out."""
    for i, name in enumerate(names):
        x = x @ tensors[f"{name}.weight"].numpy().astype(np.float64).T + tensors[f"{name}.bias"].numpy()
        x = activation(x) if i < len(names) - 1 else x
    return x


def assert_computes(conversion: Conversion, expected: Callable[[Array], Array], spread: float = 2.0) -> None:
    network = Model(conversion.model.SerializeToString())
    for x in spread * np.random.default_rng(2).normal(size=(20, 1, N)):
        network.inputs["obs"][:] = x
        network.run()
        values = network.inputs["obs"].astype(np.float64)
        np.testing.assert_allclose(network.outputs["action"], expected(values), atol=1e-5)
        np.testing.assert_allclose(conversion.source.step({"obs": network.inputs["obs"]})["action"],
                                   expected(values), atol=1e-5)


def rsl_rl(**more: Any) -> dict[str, Any]:
    """leggedrobotics/rsl_rl: everything a runner saves."""
    actor = state_dict(torch, "actor", SIZES)
    critic = state_dict(torch, "critic", [N, 5, 1], seed=1)
    model = {**actor, **critic, "std": torch.ones(A), **more}
    return {"model_state_dict": model, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}}, "iter": 100,
            "infos": None}


def statistics(seed: int = 5) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, generator=generator), torch.rand(N, generator=generator) + 0.3


ACTOR = ["actor.0", "actor.2"]


def test_rsl_rl_without_a_normaliser(tmp_path: Path) -> None:
    checkpoint = rsl_rl()
    conversion = convert(tmp_path, checkpoint)
    assert_computes(conversion, lambda x: layers(x, checkpoint["model_state_dict"], ACTOR))
    assert conversion.kind == "PyTorch checkpoint (rsl_rl)"
    assert conversion.facts["normaliser"] == "none"
    assert "model_state_dict.critic.* (4), model_state_dict.std" in conversion.facts["left out"]
    (warning,) = conversion.assumed
    assert "elu is the default of rsl_rl" in warning and "--activation" in warning


def test_rsl_rl_with_a_normaliser_in_the_model(tmp_path: Path) -> None:
    mean, std = statistics()
    checkpoint = rsl_rl(**{"actor_obs_normalizer._mean": mean[None], "actor_obs_normalizer._std": std[None],
                           "actor_obs_normalizer._var": std[None] ** 2, "actor_obs_normalizer.count": torch.tensor(9),
                           "critic_obs_normalizer._mean": mean[None] + 1, "critic_obs_normalizer._std": std[None]})
    conversion = convert(tmp_path, checkpoint, activation="elu")
    model = checkpoint["model_state_dict"]
    assert_computes(conversion, lambda x: layers((x - mean.numpy()) / (std.numpy() + 0.01), model, ACTOR))
    assert conversion.facts["normaliser"] == "(x - mean) / (std + 0.01) (rsl_rl)"
    assert conversion.assumed == []
    without = convert(tmp_path, checkpoint, normaliser=False)
    assert_computes(without, lambda x: layers(x, model, ACTOR))


def test_rsl_rl_with_a_normaliser_beside_the_model(tmp_path: Path) -> None:
    mean, std = statistics()
    checkpoint = {**rsl_rl(), "obs_norm_state_dict": {"_mean": mean[None], "_std": std[None], "_var": std[None] ** 2,
                                                      "count": torch.tensor(9)}}
    conversion = convert(tmp_path, checkpoint)
    assert_computes(conversion, lambda x: layers((x - mean.numpy()) / (std.numpy() + 0.01),
                                                 checkpoint["model_state_dict"], ACTOR))


def test_rsl_rl_of_one_state_dict_a_model(tmp_path: Path) -> None:
    mean, std = statistics()
    actor = {**state_dict(torch, "mlp", SIZES), "obs_normalizer._mean": mean[None], "obs_normalizer._std": std[None],
             "obs_normalizer._var": std[None] ** 2, "distribution.std_param": torch.ones(A)}
    checkpoint = {"actor_state_dict": actor, "critic_state_dict": state_dict(torch, "mlp", [N, 4, 1]), "iter": 1}
    conversion = convert(tmp_path, checkpoint)
    assert_computes(conversion, lambda x: layers((x - mean.numpy()) / (std.numpy() + 0.01), actor, ["mlp.0", "mlp.2"]))


def test_rl_games_normalises_clips_and_has_a_head(tmp_path: Path) -> None:
    mean, variance = statistics()
    model = {
        **state_dict(torch, "a2c_network.actor_mlp", [N, 8, H]),
        "a2c_network.mu.weight": torch.randn(A, H), "a2c_network.mu.bias": torch.randn(A),
        "a2c_network.value.weight": torch.randn(1, H), "a2c_network.value.bias": torch.randn(1),
        "a2c_network.sigma": torch.zeros(A), "running_mean_std.running_mean": mean.double(),
        "running_mean_std.running_var": variance.double(), "running_mean_std.count": torch.tensor(9.0).double(),
        "value_mean_std.running_mean": torch.zeros(1).double(), "value_mean_std.running_var": torch.ones(1).double(),
    }
    checkpoint = {"model": model, "epoch": 3, "frame": 10, "last_mean_rewards": np.float64(3.5),
                  "env_state": None, "optimizer": {}}
    conversion = convert(tmp_path, checkpoint, activation="elu")
    names = ["a2c_network.actor_mlp.0", "a2c_network.actor_mlp.2", "a2c_network.mu"]

    def expected(x: Array) -> Array:
        return layers(np.clip((x - mean.numpy()) / np.sqrt(variance.numpy() + 1e-5), -5, 5), model, names)

    assert_computes(conversion, expected, spread=20)
    assert any("`action.clip`" in line for line in conversion.assumed)


@pytest.mark.parametrize("head", [True, False])
def test_skrl_normalises_and_clips(tmp_path: Path, head: bool) -> None:
    mean, variance = statistics()
    policy = state_dict(torch, "net_container", [N, 8, H] if head else [N, 8, A])
    if head:
        policy |= {"policy_layer.weight": torch.randn(A, H), "policy_layer.bias": torch.randn(A)}
    checkpoint = {
        "policy": {**policy, "log_std_parameter": torch.zeros(A)},
        "value": state_dict(torch, "net_container", [N, 4, 1]),
        "state_preprocessor": {"running_mean": mean.double(), "running_variance": variance.double(),
                               "current_count": torch.tensor(9.0)},
    }
    names = ["net_container.0", "net_container.2", *(["policy_layer"] if head else [])]

    def expected(x: Array) -> Array:
        return layers(np.clip((x - mean.numpy()) / (np.sqrt(variance.numpy()) + 1e-8), -5, 5), policy, names)

    assert_computes(convert(tmp_path, checkpoint, activation="ELU"), expected, spread=20)


def test_stable_baselines3_falls_back_to_its_tanh(tmp_path: Path) -> None:
    policy = {**state_dict(torch, "mlp_extractor.policy_net", [N, 8, H]), "log_std": torch.zeros(A),
              **state_dict(torch, "mlp_extractor.value_net", [N, 8, H]),
              "action_net.weight": torch.randn(A, H), "action_net.bias": torch.randn(A),
              "value_net.weight": torch.randn(1, H), "value_net.bias": torch.randn(1)}
    names = ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"]
    conversion = convert(tmp_path, policy)
    assert_computes(conversion, lambda x: layers(x, policy, names, np.tanh))
    assert "tanh is the default of stable-baselines3" in conversion.assumed[0]


def test_cleanrl(tmp_path: Path) -> None:
    agent = {**state_dict(torch, "actor_mean", SIZES), **state_dict(torch, "critic", [N, 4, 1]),
             "actor_logstd": torch.zeros(1, A)}
    assert_computes(convert(tmp_path, agent), lambda x: layers(x, agent, ["actor_mean.0", "actor_mean.2"], np.tanh))


@pytest.mark.parametrize("container", [None, "model_state_dict", "state_dict"])
def test_plain_layers_need_their_activation(tmp_path: Path, container: str | None) -> None:
    tensors = state_dict(torch, "", SIZES)
    checkpoint = tensors if container is None else {container: tensors}
    with pytest.raises(Refused, match=r"expected one of elu, relu, tanh.* found nothing that says it"):
        convert(tmp_path, checkpoint)
    conversion = convert(tmp_path, checkpoint, activation="relu")
    assert_computes(conversion, lambda x: layers(x, tensors, ["0", "2"], lambda h: np.maximum(h, 0)))


def test_parts_that_are_named_are_joined(tmp_path: Path) -> None:
    tensors = {**state_dict(torch, "pi.body", [N, 8, H]), "pi.mean.weight": torch.randn(A, H),
               "pi.mean.bias": torch.randn(A), **state_dict(torch, "q", [N, 3, 1])}
    with pytest.raises(Refused, match=r"found layers under pi, pi\.body, q") as refusal:
        convert(tmp_path, {"agent": tensors}["agent"], activation="elu")
    assert "--checkpoint-actor" in refusal.value.what_to_do
    conversion = convert(tmp_path, tensors, activation="elu", actor="pi.body,pi.mean", output_activation="tanh")
    names = ["pi.body.0", "pi.body.2", "pi.mean"]
    assert_computes(conversion, lambda x: np.tanh(layers(x, tensors, names)))
    with pytest.raises(Refused, match=r"a prefix of its keys: .*pi\.body.*, found nobody"):
        convert(tmp_path, tensors, activation="elu", actor="nobody")


def test_layer_norms_stand_where_their_numbers_say(tmp_path: Path) -> None:
    tensors = {"actor.0.weight": torch.randn(H, N), "actor.0.bias": torch.randn(H), "actor.1.weight": torch.rand(H),
               "actor.1.bias": torch.randn(H), "actor.3.weight": torch.randn(A, H), "actor.3.bias": torch.randn(A)}

    def expected(x: Array) -> Array:
        h = x @ tensors["actor.0.weight"].numpy().T + tensors["actor.0.bias"].numpy()
        h = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
        h = h * tensors["actor.1.weight"].numpy() + tensors["actor.1.bias"].numpy()
        return elu(h) @ tensors["actor.3.weight"].numpy().T + tensors["actor.3.bias"].numpy()

    assert_computes(convert(tmp_path, {"model_state_dict": tensors}), expected)


# ---- recurrent


def recurrent(kind: Any, prefix: str, layer_count: int = 1) -> dict[str, Any]:
    torch.manual_seed(1)
    memory = kind(N, H, layer_count)
    return {f"{prefix}.{key}": value.detach() for key, value in memory.named_parameters()}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm_step(w: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    gates = w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(w: dict[str, Array], x: Array, h: Array) -> Array:
    ir, iz, i = np.split(w["weight_ih_l0"] @ x + w["bias_ih_l0"], 3)
    hr, hz, hn = np.split(w["weight_hh_l0"] @ h + w["bias_hh_l0"], 3)
    r, z = sigmoid(ir + hr), sigmoid(iz + hz)
    return (1 - z) * np.tanh(i + r * hn) + z * h


@pytest.mark.parametrize(("kind", "pairs"), [
    (torch.nn.LSTM, [("h_in", "h_out"), ("c_in", "c_out")]), (torch.nn.GRU, [("h_in", "h_out")]),
], ids=["lstm", "gru"])
@pytest.mark.parametrize("layout", ["memory_a", "rnn"])
def test_recurrent_actors_of_rsl_rl_over_a_sequence(tmp_path: Path, kind: Any, pairs: Any, layout: str) -> None:
    mean, std = statistics()
    if layout == "memory_a":
        memory, actor = recurrent(kind, "memory_a.rnn"), state_dict(torch, "actor", [H, 4, A])
        normaliser = {"actor_obs_normalizer._mean": mean[None], "actor_obs_normalizer._std": std[None]}
        checkpoint = {"model_state_dict": {**memory, **recurrent(kind, "memory_c.rnn"), **actor, **normaliser}}
    else:
        memory, actor = recurrent(kind, "rnn.rnn"), state_dict(torch, "mlp", [H, 4, A])
        checkpoint = {"actor_state_dict": {**memory, **actor, "obs_normalizer._mean": mean[None],
                                           "obs_normalizer._std": std[None]}}
    conversion = convert(tmp_path, checkpoint, activation="elu")
    assert conversion.recurrent == pairs
    weights = {key.rpartition(".")[2]: value.numpy().astype(np.float64) for key, value in memory.items()}
    network = Model(conversion.model.SerializeToString())
    h, c = np.zeros(H), np.zeros(H)
    for x in np.random.default_rng(0).normal(size=(1000, N)).astype(np.float32):
        network.inputs["obs"][:] = x
        network.run()
        normal = (x.astype(np.float64) - mean.numpy()) / (std.numpy() + 0.01)
        h, c = lstm_step(weights, normal, h, c) if kind is torch.nn.LSTM else (gru_step(weights, normal, h), c)
        names = [key.removesuffix(".weight") for key in actor if key.endswith(".weight")]
        np.testing.assert_allclose(network.outputs["action"][0], layers(h, actor, names), atol=1e-5)
        for name_in, name_out in pairs:
            network.inputs[name_in][...] = network.outputs[name_out]


def test_layers_of_a_recurrent_part_are_counted(tmp_path: Path) -> None:
    tensors = {**recurrent(torch.nn.GRU, "memory_a.rnn", 3), **state_dict(torch, "actor", [H, A])}
    conversion = convert(tmp_path, {"model_state_dict": tensors})
    assert Model(conversion.model.SerializeToString()).inputs["h_in"].shape == (3, 1, H)
    assert conversion.facts["hidden state"] == "GRU of 3"


# ---- what the training wrote beside it


@pytest.mark.parametrize("text", [
    "policy:\n  activation: tanh\n",
    "actor:\n  activation: Tanh\n",
    "params:\n  network:\n    mlp: {units: [8], activation: tanh}\n",
    "models:\n  policy:\n    network:\n    - name: net\n      activations: tanh\n",
    "policy:\n  activation: tanh\n  n: !!python/tuple [1, 2]\n  f: !!python/object/apply:os.system ['touch HERE']\n",
])
@pytest.mark.parametrize("folder", [".", "nn"])
def test_the_training_configuration_says_the_activation(tmp_path: Path, text: str, folder: str) -> None:
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "agent.yaml").write_text(text.replace("HERE", str(tmp_path / "touched")), encoding="utf-8")
    (tmp_path / folder).mkdir(exist_ok=True)
    checkpoint = rsl_rl()
    conversion = convert(tmp_path / folder, checkpoint)
    assert_computes(conversion, lambda x: layers(x, checkpoint["model_state_dict"], ACTOR, np.tanh))
    assert conversion.facts["activation"] == "tanh (training configuration)" and conversion.assumed == []
    assert convert(tmp_path / folder, checkpoint, activation="elu").facts["activation"] == "elu (as given)"
    assert not (tmp_path / "touched").exists()


def test_an_activation_that_is_not_known_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"expected one of elu, relu.* found crelu"):
        convert(tmp_path, rsl_rl(), activation="crelu")


# ---- refused rather than guessed


def without(checkpoint: dict[str, Any], *keys: str, **more: Any) -> dict[str, Any]:
    model = {key: value for key, value in checkpoint["model_state_dict"].items() if key not in keys}
    return {"model_state_dict": {**model, **more}}


@pytest.mark.parametrize(("checkpoint", "words"), [
    (without(rsl_rl(), **{"student.0.weight": torch.ones(A, N)}), "expected one actor, found model_state_dict.actor, "),
    (without(rsl_rl(), **{"actor.2.weight": torch.ones(A, H + 1)}), "layers that follow one another, found 6 into 7"),
    (without(rsl_rl(), **{"actor.0.bias": torch.ones(H + 1)}), r"a linear layer: .*found .*bias \(7,\)"),
    (without(rsl_rl(), **{"actor.5.weight": torch.ones(A, A)}), "one layer without weights.* found 2 before 5"),
    (without(rsl_rl(), **{"actor.3.weight": torch.ones(A, A)}), "between two linear layers, found 0 before 3"),
    (without(rsl_rl(), **{"actor.0.running_mean": torch.ones(H)}), r"keys such as 0\.weight.* found 0\.running_mean"),
    (without(rsl_rl(), **{"actor.encoder.weight": torch.ones(H)}), r"keys such as 0\.weight.* found encoder\.weight"),
    (without(rsl_rl(), **{"actor.0.weight": torch.ones(H, N, 3)}), "a linear layer"),
    (without(rsl_rl(), **{"obs_rms.mean": torch.ones(N), "obs_rms.var": torch.ones(N)}),
     r"one as a known library keeps it, found model_state_dict\.obs_rms\.mean"),
    (without(rsl_rl(), **{f"actor_obs_normalizer.{key}": torch.ones(1, N + 1) for key in ("_mean", "_std")}),
     r"mean and spread of 7 numbers.*_mean \(1, 8\)"),
    (without(rsl_rl(), **{"estimator.weight_ih_l0": torch.ones(H, N)}), "found model_state_dict.estimator.weight_ih"),
    (without(rsl_rl(), **recurrent(torch.nn.RNN, "memory_a.rnn")), "the weights of an LSTM or a GRU"),
    (without(rsl_rl(), **recurrent(torch.nn.LSTM, "memory_a.rnn")), "layers that take the hidden state, 6, found 7"),
    ({"model_state_dict": {**state_dict(torch, "actor", [H, A]), **recurrent(torch.nn.LSTM, "memory_a.rnn"),
                           "memory_a.rnn.weight_ih_l0_reverse": torch.ones(4 * H, N)}}, "a plain LSTM of"),
    ({"policy": {"trunk.weight": torch.ones(A, N)}}, "expected an actor as rsl_rl, rsl_rl student, rl_games"),
    ({"iter": 3, "infos": None}, "expected a state dict, found dict without tensors"),
    ([1, 2, 3], "expected a state dict, found list"),
], ids=str)
def test_what_would_be_a_guess_is_refused(tmp_path: Path, checkpoint: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        convert(tmp_path, checkpoint)


def test_hidden_state_that_the_manifest_counts_otherwise_is_refused(tmp_path: Path) -> None:
    torch.save(rsl_rl(), tmp_path / "model.pt")
    with pytest.raises(Refused, match="expected 1 tensors, as the manifest's `recurrent` has, found 0"):
        convert_checkpoint(tmp_path / "model.pt", "obs", "action", [("h_in", "h_out")], Choices())


# ---- files that would run code


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def zipped(path: Path, payload: Payload) -> None:
    torch.save({**rsl_rl(), "infos": payload}, path)


def legacy(path: Path, payload: Payload) -> None:
    torch.save({**rsl_rl(), "infos": payload}, path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


@pytest.mark.parametrize("write", [zipped, legacy, plain_pickle])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, write: Callable[..., None]) -> None:
    path, created = tmp_path / "model.pt", tmp_path / "created"
    write(path, Payload(created))
    with pytest.raises(Refused):
        convert_checkpoint(path, "obs", "action", [], Choices())
    assert not created.exists()


def test_the_payload_works_where_it_is_let(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    zipped(tmp_path / "model.pt", Payload(tmp_path / "created"))
    torch.load(tmp_path / "model.pt", weights_only=False)["infos"].close()
    assert (tmp_path / "created").exists()


def test_the_refusal_names_the_objects_and_how_to_save_instead(tmp_path: Path) -> None:
    torch.save({**rsl_rl(), "cfg": Path("run")}, tmp_path / "model.pt")
    with pytest.raises(Refused, match=r"found Python objects: .*pathlib") as refusal:
        convert_checkpoint(tmp_path / "model.pt", "obs", "action", [], Choices())
    assert "torch.save({'model_state_dict': policy.state_dict()}" in refusal.value.what_to_do


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(N, A), tmp_path / "model.pt")
    with pytest.raises(Refused, match=r"Python objects: .*Linear"):
        convert_checkpoint(tmp_path / "model.pt", "obs", "action", [], Choices())


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04nonsense", b"\x80\x02}.", b"hello world" * 100])
def test_nonsense_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(Refused):
        convert_checkpoint(tmp_path / "model.pt", "obs", "action", [], Choices())


@pytest.mark.parametrize(("member", "words"), [
    ("policy.pth", "an archive of stable-baselines3"), ("policy/archive_format", r"a program of torch\.export"),
])
def test_archives_of_another_kind_are_named(tmp_path: Path, member: str, words: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr(member, b"pt2")
    with pytest.raises(Refused, match=words):
        convert_checkpoint(tmp_path / "model.zip", "obs", "action", [], Choices())


@pytest.mark.parametrize("part", [0.2, 0.95])
def test_a_checkpoint_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = tmp_path / "model.pt"
    torch.save(rsl_rl(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(Refused):
        convert_checkpoint(path, "obs", "action", [], Choices())
