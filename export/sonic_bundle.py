"""SONIC's networks and their observation config into a bundle, if they belong together.

Sizes and tensor names prove little: two published layouts have 1751 numbers and differ in their order. So the hashes of
published files are known, the layout has a name that the runtime checks (`runtime/layouts.py`), and golden vectors of
every mode go along.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle_writer import write_bundle
from export.plausible import plausible_ticks
from export.sonic import ACTION, TENSOR, TOKEN_MODE, SonicConfig, make_manifest
from export.sonic_names import CHANNEL, JOINTS, STAGE, TOKEN, TOKEN_SIZE
from export.sonic_published import PAIRS
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.golden import Tick, record
from runtime.layouts import layout_digest, layout_name
from runtime.manifest import Manifest
from runtime.manifest_reader import read_manifest
from runtime.model import Model
from runtime.robot import load_robot
from runtime.state import RobotState

ENCODER_FILE, DECODER_FILE, CONFIG_FILE = "encoder.onnx", "decoder.onnx", "observation_config.yaml"
TICKS_A_MODE, SEED = 12, 3
METADATA = {"kp": "kp", "kd": "kd", "scale": "action_scale", "pose": "default_angles"}
"""Ours -> huggingface/lerobot's key (`sonic_whole_body.py`, pull request 4090); `neutral_token` beside them."""
NOISE, TRIES = 1e-5, 4
"""Golden ticks of which the token would change by so little a difference of the input are left out: another machine's
kernels differ by less."""


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of.

    Attributes:
        config_yaml: bytes of the observation config.
        encoder: None where tokens come from outside.
        origin: goes into the bundle's provenance.
        about: `description` and `licence` of the manifest.
    """

    config: SonicConfig
    config_yaml: bytes
    encoder: bytes | None
    decoder: bytes
    origin: Mapping[str, Any]
    about: Mapping[str, str] = field(default_factory=dict)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the config and of each network."""
        parts = {"config": self.config_yaml, "encoder": self.encoder, "decoder": self.decoder}
        return {name: hashlib.sha256(part).hexdigest() for name, part in parts.items() if part is not None}


def bundle_sonic(
    out: Path, name: str, parts: Parts, *, gain_factors: Mapping[str, float] | None = None,
    pairs: Iterable[Mapping[str, str]] = PAIRS,
) -> tuple[Path, str, str]:
    """Write the bundle: (folder, name of the layout, what is known of the pair).

    Raises:
        Refused: networks and config that do not belong together, or networks that are not SONIC's.
    """
    size_encoder, size_decoder = parts.config.sizes()
    decoder = _open("decoder", parts.decoder, size_decoder, ACTION, len(JOINTS))
    models = {}
    if (parts.encoder is None) != (not parts.config.encoder):
        raise Refused("observation config", found="encoder observations" if parts.config.encoder else "none",
                      expected="encoder observations exactly where there is an encoder",
                      what_to_do="give encoder, decoder and the config that came with them")
    if parts.encoder is not None:
        models[STAGE] = _open("encoder", parts.encoder, size_encoder, TOKEN, TOKEN_SIZE)
    tables, neutral = lerobot_tables(decoder.metadata(), needed=parts.encoder is None)
    data = make_manifest(parts.config, name, gain_factors=gain_factors, tables=tables, neutral_token=neutral)
    data.update(parts.about)
    data["layout"] = layout_name(layout_digest(_manifest(data)))
    known = check_pair(data["layout"], parts.hashes(), pairs)
    controller = Controller(_manifest(data), decoder, models)
    files: dict[str, bytes] = {DECODER_FILE: parts.decoder, CONFIG_FILE: parts.config_yaml}
    if parts.encoder is not None:
        files[ENCODER_FILE] = parts.encoder
    provenance = {**parts.origin, "layout": data["layout"], "pair": known, "sha256": parts.hashes()}
    golden = record(controller, golden_ticks(controller))
    return write_bundle(out, data, files, golden=golden, provenance=provenance), data["layout"], known


def check_pair(layout: str, hashes: Mapping[str, str], pairs: Iterable[Mapping[str, str]] = PAIRS) -> str:
    """What is known of these files; known ones must be each other's.

    Raises:
        Refused: a known network with another network, or with another layout.
    """
    networks = [part for part in ("encoder", "decoder") if part in hashes]
    known = [row for row in pairs if any(hashes[part] == row[part] for part in networks)]
    if not known:
        return "unknown: names and sizes fit, and nothing else says that these files belong together"
    whole = [row for row in known if all(hashes[part] == row[part] for part in networks)]
    if not whole:
        row = known[0]
        ours, other = sorted(networks, key=lambda part: hashes[part] != row[part])
        raise Refused(f"{ours} and {other}", expected=f"the {other} of {row['layout']}, sha256 {row[other]}",
                      found=hashes[other], what_to_do="give encoder and decoder of one release")
    row = whole[0]
    if "encoder" in hashes and layout != row["layout"] and hashes["config"] != row.get("config"):
        raise Refused("observation config", expected=f"the layout of these networks, {row['layout']}", found=layout,
                      what_to_do="give the observation_config.yaml that came with the networks")
    return f"known: {row['layout']}"


def _open(what: str, data: bytes, size_in: int, out: str, size_out: int) -> Model:
    """A network with the one input and the one output it must have."""
    model = Model(data)
    found = {**{f"input {key}": array.size for key, array in model.inputs.items()},
             **{f"output {key}": array.size for key, array in model.outputs.items()}}
    expected = {f"input {TENSOR}": size_in, f"output {out}": size_out}
    if found != expected:
        raise Refused(
            f"SONIC {what}", expected=", ".join(f"{key} of {size}" for key, size in expected.items()),
            found=", ".join(f"{key} of {size}" for key, size in found.items()),
            what_to_do="give the network and the observation_config.yaml of one release",
        )
    return model


def _manifest(data: dict[str, Any]) -> Manifest:
    return read_manifest(Path("controller.json"), json.dumps(data).encode())


def lerobot_tables(
    metadata: Mapping[str, str], *, needed: bool
) -> tuple[dict[str, dict[str, float]] | None, list[float] | None]:
    """Gains, scales and pose by joint name and the neutral token, where a decoder brings them.

    The arrays are in motor order: the program that reads them adds them to targets by motor index (its own comment
    says otherwise). Left and right must then mirror each other, which another order would break.

    Raises:
        Refused: they are needed and some are missing; lists of other lengths; another order.
    """
    keys = [*METADATA.values(), "neutral_token"]
    missing = [key for key in keys if key not in metadata]
    if missing and not needed:
        return None, None
    what = "metadata of the decoder"
    if missing:
        raise Refused(what, expected=", ".join(keys), found=f"missing {', '.join(missing)}",
                      what_to_do="give the encoder and the observation config too, or a decoder that brings these")
    motors = [joint.name for joint in sorted(load_robot("g1_29dof").joints, key=lambda joint: joint.motor)]
    tables = {ours: dict(zip(motors, _numbers(what, metadata, theirs, len(motors)), strict=True))
              for ours, theirs in METADATA.items()}
    for ours, values in tables.items():
        for name, value in values.items():
            if abs(abs(values[name.replace("left_", "right_")]) - abs(value)) > 1e-6:
                raise Refused(f"{what}, {METADATA[ours]}", expected="motor order, left as right",
                              found=f"{value} for {name}, {values[name.replace('left_', 'right_')]} for its mirror",
                              what_to_do="the list is in another order: write the metadata again")
    return tables, _numbers(what, metadata, "neutral_token", TOKEN_SIZE)


def _numbers(what: str, metadata: Mapping[str, str], key: str, size: int) -> list[float]:
    try:
        values = [float(value) for value in json.loads(metadata[key])]
    except (TypeError, ValueError):
        values = []
    if len(values) != size or not np.isfinite(values).all():
        raise Refused(f"{what}, {key}", expected=f"a JSON list of {size} finite numbers", found=metadata[key][:200],
                      what_to_do="write the metadata again")
    return values


def golden_ticks(controller: Controller) -> list[Tick]:
    """Plausible ticks of every mode, beginning anew in each, turned now and then; tokens on no edge."""
    modes = list(controller.manifest.modes.values()) or [0]
    count = TICKS_A_MODE * len(modes)
    places: dict[str, npt.NDArray[Any]] = {
        "mode": np.repeat(modes, TICKS_A_MODE)[:, None],
        "reinit": (np.arange(count) % TICKS_A_MODE == 0)[:, None],
        "delta_heading": (0.3 * (np.arange(count) % TICKS_A_MODE // 4))[:, None],
        "step": (np.arange(count) % TICKS_A_MODE // 2)[:, None],
    }
    ticks = plausible_ticks(controller, count, SEED, places)
    if CHANNEL not in controller.window.now.channels or TOKEN_MODE not in controller.manifest.modes:
        return ticks
    return [tick for tick in ticks if _is_steady(controller, tick)]


def _is_steady(controller: Controller, tick: Tick) -> bool:
    """Whether noise on the encoder's input leaves its token alone."""
    state, encoder, rng = RobotState(controller.manifest.robot.motors), controller.networks[0], np.random.default_rng(0)
    state.floats[:] = tick.state
    for frame, values in zip(controller.window.frames, tick.window, strict=True):
        frame.values[:] = values
    for name, values in tick.places.items():
        controller.inputs.own[name][:] = values
    controller.observe(state)
    _, buffer, _ = encoder.observations[0]
    exact, token, found = buffer.copy(), encoder.output(TOKEN), encoder.output(TOKEN).copy()
    steady = True
    for _ in range(TRIES):
        buffer[:] = exact * (1 + NOISE * rng.standard_normal(exact.size).astype(np.float32))
        buffer[0] = exact[0]
        encoder.model.run()
        steady = steady and bool((token == found).all())
    return steady
