"""`exoactor export clips`: the demonstration motions that ship, made again."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.demos import demo_clips
from export.recorder import settings_for
from runtime.clip import Clip, load_clip, save_clip
from runtime.manifest_reader import load_manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export clips`."""
    parser.epilog = "example: exoactor export clips --walks holosoma-velocity --walks-model ppo.onnx --out clips/"
    parser.add_argument("--out", required=True, help="folder for the clips")
    parser.add_argument("--controller", default="twist2", help="tracker whose standing pose the motions start from")
    parser.add_argument("--walks", help="velocity controller whose simulated walks are recorded")
    parser.add_argument("--walks-model", help="its ONNX file")


def run(args: argparse.Namespace) -> int:
    """Make them, and check each as a run would."""
    manifest = load_manifest(args.controller)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    walks = settings_for(args.walks, model=args.walks_model) if args.walks else None
    for name, clip in demo_clips(manifest, walks):
        save_clip(out / f"{name}.npz", _small(clip))
        clip = load_clip(out / f"{name}.npz", manifest.robot)
        print(f"{name:<16} {clip.duration_s:5.1f} s  {(out / f'{name}.npz').stat().st_size / 1024:5.1f} KiB")
    return 0


def _small(clip: Clip) -> Clip:
    """Half the numbers' width: a tenth of a millimetre and of a milliradian are kept."""
    return replace(clip, **{
        name: np.round(getattr(clip, name), 5).astype(np.float32)
        for name in ("joint_pos", "root_pos", "root_quat_wxyz")
    })
