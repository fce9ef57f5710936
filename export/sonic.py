"""From SONIC's `observation_config.yaml` to a manifest of ours: layout, modes, stages, tables.

The format (NVlabs/GR00T-WholeBodyControl @ 1983e88, `docs/source/references/observation_config.md`): `observations`,
the decoder's list of {name, enabled}; `encoder` with `dimension`, `encoder_observations` likewise and `encoder_modes`,
a list of {name, mode_id, required_observations}. The order of a list is the layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from export.sonic_names import CHANNEL, JOINTS, STAGE, TOKEN, TOKEN_SIZE, terms_of_name
from export.sonic_published import DECODER, ENCODERS, IDLE_HEIGHT_M, MODES, robot_tables
from runtime.errors import Refused
from runtime.manifest_reader import SCHEMA
from runtime.reader import Reader

TENSOR, ACTION = "obs_dict", "action"
TOKEN_MODE = "token"
"""Our own mode beside the published ones: the token comes from outside, the encoder rests (stream protocol v4)."""


@dataclass(frozen=True)
class SonicConfig:
    """An observation config, checked.

    Attributes:
        decoder, encoder: enabled observations in their order; no encoder where tokens come from outside.
        modes: name -> (id, observations that count in it).
    """

    decoder: tuple[str, ...]
    encoder: tuple[str, ...] = ()
    modes: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def sizes(self) -> tuple[int, int]:
        """Numbers of the encoder's and of the decoder's input."""
        return (sum(terms_of_name(name)[1] for name in self.encoder),
                sum(terms_of_name(name, has_encoder=bool(self.encoder))[1] for name in self.decoder))


class _ConfigReader(Reader):
    """Checked access to the parsed YAML."""

    def names(self, key: str, found: Any) -> tuple[str, ...]:
        """The enabled names of a list of {name, enabled}."""
        names = []
        for i, entry in enumerate(self.listed(key, found)):
            self.keys(f"{key}[{i}]", entry, {"name", "enabled"}, {"name", "enabled"})
            if self.flag(f"{key}[{i}].enabled", entry["enabled"]):
                names.append(self.text(f"{key}[{i}].name", entry["name"]))
        self.distinct(key, names)
        return tuple(names)

    def modes(self, found: Any, encoder: tuple[str, ...]) -> dict[str, tuple[int, tuple[str, ...]]]:
        """Every mode with its id and what counts in it."""
        modes: dict[str, tuple[int, tuple[str, ...]]] = {}
        for i, entry in enumerate(self.listed("encoder.encoder_modes", found)):
            key, wanted = f"encoder.encoder_modes[{i}]", {"name", "mode_id", "required_observations"}
            self.keys(key, entry, wanted, wanted)
            name, required = self.text(f"{key}.name", entry["name"]), entry["required_observations"]
            self.whole(f"{key}.mode_id", entry["mode_id"], 0, 254)
            unknown = [text for text in self.texts(f"{key}.required_observations", required) if text not in encoder]
            if unknown or name in modes or name == TOKEN_MODE:
                raise self.refuse(key, "a new name, and enabled observations of the encoder",
                                  f"{name}: {', '.join(unknown) or 'the name is taken'}")
            modes[name] = (int(entry["mode_id"]), tuple(required))
        self.distinct("encoder.encoder_modes: ids", [str(number) for number, _ in modes.values()])
        return modes


def read_config(text: str, name: str = "observation config") -> SonicConfig:
    """An `observation_config.yaml`.

    Raises:
        Refused: no such YAML, unknown observations, modes of other observations than the encoder's.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(name, expected="a YAML file", found=str(error).splitlines()[0],
                      what_to_do="give the observation_config.yaml that belongs to the networks") from error
    reader = _ConfigReader(name, "give the observation_config.yaml that belongs to the networks")
    reader.keys("top level", data, set(data) if isinstance(data, dict) else set(), {"observations"})
    decoder = reader.names("observations", data["observations"])
    if "encoder" not in data:
        return _checked(SonicConfig(decoder))
    encoder = data["encoder"]
    reader.keys("encoder", encoder, {"dimension", "use_fp16", "encoder_observations", "encoder_modes"},
                {"dimension", "encoder_observations", "encoder_modes"})
    reader.whole("encoder.dimension", encoder["dimension"], TOKEN_SIZE, TOKEN_SIZE)
    names = reader.names("encoder.encoder_observations", encoder["encoder_observations"])
    return _checked(SonicConfig(decoder, names, reader.modes(encoder["encoder_modes"], names)))


def _checked(config: SonicConfig) -> SonicConfig:
    config.sizes()
    if config.decoder.count("token_state") != 1:
        raise Refused("observation config", expected="`token_state` once among the decoder's observations",
                      found=", ".join(config.decoder), what_to_do="only token-based policies are SONIC's")
    return config


def published_config(layout: str) -> SonicConfig:
    """The config of a published layout."""
    return SonicConfig(DECODER, ENCODERS[layout], MODES[layout])


def config_yaml(config: SonicConfig) -> str:
    """The YAML of a config."""
    def rows(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"name": name, "enabled": True} for name in names]

    data: dict[str, Any] = {"observations": rows(config.decoder)}
    if config.encoder:
        data["encoder"] = {
            "dimension": TOKEN_SIZE, "use_fp16": False, "encoder_observations": rows(config.encoder),
            "encoder_modes": [{"name": name, "mode_id": number, "required_observations": list(required)}
                              for name, (number, required) in config.modes.items()],
        }
    return str(yaml.safe_dump(data, sort_keys=False))


def make_manifest(
    config: SonicConfig, name: str, *, gain_factors: Mapping[str, float] | None = None,
    tables: Mapping[str, Mapping[str, float]] | None = None, neutral_token: list[float] | None = None,
) -> dict[str, Any]:
    """The `controller.json` of a pair of networks, without hashes and layout name.

    Args:
        gain_factors: joint -> factor on its kp and kd.
        tables: kp, kd, scale and pose by joint name; SONIC's own when None.
        neutral_token: what an idle reference holds, when tokens come from outside.
    """
    tables = tables or robot_tables(JOINTS)
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "source": "NVlabs/GR00T-WholeBodyControl @ 1983e88: observation config, policy_parameters.hpp",
        "licence": "NVIDIA's weights: NVIDIA Open Model License",
        "kind": "tracker",
        "robot": "g1_29dof",
        "rate_hz": 50,
        "joints": list(JOINTS),
        "default_pose": dict(tables["pose"]),
        "gains": {"kp": dict(tables["kp"]), "kd": dict(tables["kd"])},
        "model": {"file": "decoder.onnx"},
        "inputs": [_input(config.decoder, {}, bool(config.encoder))],
        "outputs": {"action": ACTION},
        "action": {"scale": dict(tables["scale"]), "offset": "default_pose", "observed": "raw"},
        "reference": {"idle_height_m": IDLE_HEIGHT_M, "at_end": "last"},
    }
    if gain_factors:
        manifest["gains"]["kp_factor"] = manifest["gains"]["kd_factor"] = dict(gain_factors)
    if neutral_token is not None:
        manifest["reference"]["idle_channels"] = {CHANNEL: neutral_token}
    if config.encoder:
        numbers = {mode: number for mode, (number, _) in sorted(config.modes.items(), key=lambda item: item[1][0])}
        manifest["modes"] = {**numbers, TOKEN_MODE: max(numbers.values()) + 1}
        counts = {observation: [mode for mode in numbers if observation in config.modes[mode][1]]
                  for observation in config.encoder}
        counts = {observation: modes for observation, modes in counts.items() if modes != list(numbers)}
        manifest["stages"] = [{
            "name": STAGE, "model": {"file": "encoder.onnx"}, "modes": list(numbers), "instead": {TOKEN: CHANNEL},
            "inputs": [_input(config.encoder, counts, True)],
        }]
    return manifest


def _input(names: tuple[str, ...], counts: dict[str, list[str]], has_encoder: bool) -> dict[str, Any]:
    """One network's input; what counts in every mode, as the mode itself does, has no `modes`."""
    terms = []
    for name in names:
        for term in terms_of_name(name, has_encoder=has_encoder)[0]:
            always = name not in counts or term["term"] == "mode_id"
            terms.append(term if always else {**term, "modes": counts[name]})
    return {"name": TENSOR, "blocks": [{"terms": terms}]}
