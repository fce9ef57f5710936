"""`exoactor export sonic`: SONIC's encoder, decoder and observation config, or networks like them, as a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from export.sonic import SonicConfig, config_yaml, published_config, read_config
from export.sonic_bundle import Parts, bundle_sonic
from export.sonic_published import DECODER, ENCODERS, PAIRS
from runtime.errors import Refused
from runtime.reader import Reader

_LAYOUTS = [name.removeprefix("sonic/") for name in ENCODERS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export sonic`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export sonic --encoder model_encoder.onnx --decoder model_decoder.onnx \\\n"
        "      --observation-config observation_config.yaml --out bundles/sonic\n"
        "  exoactor export sonic --decoder model_decoder.onnx --out bundles/sonic-decoder\n"
        "  exoactor export sonic --synthetic v1_1 --seed 0 --out bundles/sonic-like"
    )
    parser.add_argument("--encoder", type=Path, help="ONNX file; without it tokens come from outside")
    parser.add_argument("--decoder", type=Path, help="ONNX file")
    parser.add_argument("--observation-config", type=Path, help="YAML file that came with the networks")
    parser.add_argument("--synthetic", choices=_LAYOUTS, help="networks of these signatures with random weights")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic networks")
    parser.add_argument("--full-size", action="store_true", help="synthetic networks as large as the published ones")
    parser.add_argument("--gain-factor", action="append", default=[], metavar="JOINT=FACTOR",
                        help="on kp and kd of a joint; repeatable")
    parser.add_argument("--known-pairs", type=Path, metavar="FILE",
                        help="JSON list of {layout, encoder, decoder, config}: sha256 of files that belong together")
    parser.add_argument("--name", help="of the controller (default: the layout's)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")


def run(args: argparse.Namespace) -> int:
    """Write one bundle; returns the exit code."""
    parts = _synthetic(args) if args.synthetic else _given(args)
    name = args.name or ("sonic-" + (args.synthetic + "-synthetic" if args.synthetic else
                                     "encoder-decoder" if parts.encoder else "decoder"))
    pairs = [*PAIRS, *(_pairs(args.known_pairs) if args.known_pairs else [])]
    out, layout, known = bundle_sonic(args.out, name, parts, gain_factors=_factors(args.gain_factor), pairs=pairs)
    print(f"layout {layout}\npair {known}\nbundle {out}")
    return 0


def _synthetic(args: argparse.Namespace) -> Parts:
    if args.encoder or args.decoder or args.observation_config:
        raise Refused("--synthetic", expected="no files", found="--encoder, --decoder or --observation-config",
                      what_to_do="leave one of the two out")
    from export import sonic_synthetic as synthetic

    config = published_config(f"sonic/{args.synthetic}")
    full = args.full_size
    return Parts(
        config, config_yaml(config).encode(),
        synthetic.synthetic_encoder(config, args.seed, synthetic.FULL_ENCODER if full else synthetic.SMALL_ENCODER),
        synthetic.synthetic_decoder(config, args.seed, synthetic.FULL_DECODER if full else synthetic.SMALL_DECODER),
        {"weights": f"random, seed {args.seed}"},
        {"description": "random weights with SONIC's signatures, for tests: it falls", "licence": "none needed"},
    )


def _given(args: argparse.Namespace) -> Parts:
    if args.decoder is None or (args.encoder is not None and args.observation_config is None):
        raise Refused("exoactor export sonic", expected="--encoder, --decoder and --observation-config, or --decoder "
                      "alone, or --synthetic", found="less", what_to_do="give the files of one release")
    text = _read(args.observation_config) if args.observation_config else config_yaml(SonicConfig(DECODER)).encode()
    config = read_config(text.decode("utf-8", "replace"), args.observation_config.name if args.observation_config
                         else "observation config")
    names = [path.name for path in (args.encoder, args.decoder, args.observation_config) if path is not None]
    return Parts(config, text, _read(args.encoder) if args.encoder else None, _read(args.decoder), {"files": names})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"file {path}", expected="a readable file", found=f"{error.strerror or error}",
                      what_to_do="check the path") from error


def _factors(words: list[str]) -> dict[str, float]:
    factors = {}
    for word in words:
        joint, _, factor = word.partition("=")
        try:
            factors[joint] = float(factor)
        except ValueError:
            raise Refused("--gain-factor", expected="JOINT=FACTOR, e.g. left_ankle_pitch_joint=1.5", found=word,
                          what_to_do="name a joint and a number") from None
    return factors


def _pairs(path: Path) -> list[dict[str, str]]:
    reader = Reader(f"file {path.name}", "give a list of {layout, encoder, decoder, config}")
    try:
        rows: Any = json.loads(_read(path))
    except ValueError as error:
        raise reader.refuse("content", "JSON", error) from error
    for i, row in enumerate(reader.listed("top level", rows)):
        reader.keys(f"[{i}]", row, {"layout", "encoder", "decoder", "config"}, {"layout", "encoder", "decoder"})
        for key, value in row.items():
            reader.text(f"[{i}].{key}", value)
    return list(rows)
