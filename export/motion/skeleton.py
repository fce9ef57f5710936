"""`exoactor motion skeleton`: the bones of a body model, once, for machines that have no body models."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.motion.body_models import HAND_OF, bones_of_model, find_model, save_bones


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the models lie, and where the bones go."""
    parser.add_argument("out", type=Path, metavar="OUT", help="npz to write: give it as --smpl-models afterwards")
    parser.add_argument("--smpl-models", type=Path, required=True, metavar="DIR", help="folder of body models")
    parser.add_argument("--model", choices=sorted(HAND_OF), default="smplx", help="which (default: smplx)")


def run(args: argparse.Namespace) -> int:
    """Write it; returns the exit code."""
    path, kind = find_model(args.smpl_models, args.model)
    bones = bones_of_model(path, kind)
    save_bones(args.out, bones)
    print(f"{args.out}: {len(bones.template)} joints and {bones.directions.shape[-1]} shapes of {path.name}")
    return 0
