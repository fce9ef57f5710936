"""`exoactor export distill`: a small student of a teacher bundle, trained in simulation, in a signed bundle."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from export.bundle_writer import write_bundle
from export.demos import generated_clips, recorded_walks
from export.recorder import measure, settings_for
from export.student_manifest import HISTORY, student_manifest
from firmware_bridge.sim_options import PLANT
from firmware_bridge.simulated_robot import Disturbance, Push
from runtime.clip import find_clip, load_clip, save_clip
from runtime.errors import Refused
from runtime.manifest import Manifest, find_model
from runtime.manifest_reader import load_manifest

PUSH_N_S = 15.0
SHORT, SHORT_BELOW_MIN = {"ticks": 250, "steps": 60}, 10.0
"""Smaller rounds for short trainings: what counts is how often the student is corrected where it went."""
SHARES = (2.0, 1.0, 1.0)
"""How often given motions, gestures and recorded walks are drawn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export distill`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export distill --teacher twist2_bundle --motions clips/ --minutes 2 --out student\n"
        "  exoactor export distill --teacher twist2 --teacher-model twist2.onnx --motions clips/ --rounds 30 "
        "--walks holosoma-velocity --walks-model ppo.onnx --out student"
    )
    parser.add_argument("--teacher", required=True, help="bundle, manifest or shipped name")
    parser.add_argument("--teacher-model", help="its ONNX file, when it does not bring its own")
    parser.add_argument("--motions", nargs="*", default=[], help="clips, or folders of clips, for a tracker")
    parser.add_argument("--walks", help="velocity controller whose simulated walks are motions too")
    parser.add_argument("--walks-model", help="its ONNX file")
    parser.add_argument("--gestures", type=int, default=40, help="generated standing motions for a tracker")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="train this long")
    length.add_argument("--rounds", type=int, help="train this many rounds: repeatable, however fast the machine")
    parser.add_argument("--out", required=True, help="bundle folder to write; OUT.work keeps what a restart needs")
    parser.add_argument("--name", help="of the student (default: the folder's name)")
    parser.add_argument("--history", type=int, default=HISTORY, help="past frames the student sees")
    parser.add_argument("--hidden", default="512,256,128", help="sizes of its hidden layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="gathering processes")
    parser.add_argument("--robots", type=int, default=12, help="simulated robots a process")
    parser.add_argument("--plant", default=str(PLANT), help="MJCF file")
    parser.add_argument("--no-evaluation", action="store_true", help="leave the closing runs out")
    parser.add_argument("--keep-work", action="store_true", help="do not remove OUT.work at the end")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Train, bundle, evaluate."""
    from export.distill import Class, Course

    hidden = _check(args)
    out = Path(args.out)
    teacher = load_manifest(args.teacher)
    model = find_model(teacher, args.teacher_model)
    if teacher.kind == "tracker" and not any(clip_files(args.motions)):
        raise Refused("--motions", expected="at least one clip", found="none", what_to_do="name clips or folders")
    work = Path(f"{out}.work")
    work.mkdir(parents=True, exist_ok=True)
    manifest = student_manifest(json.loads(teacher.path.read_text(encoding="utf-8")), args.name or out.name,
                                args.history)
    (work / "student.json").write_text(json.dumps(manifest), encoding="utf-8")
    clips = _clips(args, teacher, work)
    course = Course(
        teacher=str(teacher.path), teacher_model=str(model), student=str(work / "student.json"), clips=clips,
        plant=args.plant, rounds=args.rounds or 0, minutes=args.minutes or 0.0, seed=args.seed, workers=args.workers,
        robots=args.robots, hidden=hidden, **(SHORT if args.minutes and args.minutes < SHORT_BELOW_MIN else {}),
    )
    with tqdm(total=100, unit="%", bar_format="{percentage:3.0f}% |{bar}| {elapsed} {postfix}") as bar:
        def tell(done: float, line: str) -> None:
            bar.update(max(0.0, 100 * done - bar.n))
            bar.set_postfix_str(line)
            bar.write(line)

        lesson = Class(course, work, tell)
        student = lesson.run()
    manifest |= _about(args, teacher)
    (work / "policy.onnx").write_bytes(student.onnx())
    (work / "controller.json").write_text(json.dumps(manifest), encoding="utf-8")
    evaluation = {} if args.no_evaluation else evaluate(work, list(clip_files(args.motions)), teacher)
    provenance = {
        "teacher": teacher.name, "teacher_licence": manifest["licence"], "seed": args.seed, "curve": lesson.curve,
        "motions": [Path(path).name for path, _ in clips], "evaluation": evaluation,
        "rounds": args.rounds, "minutes": args.minutes, "plant": Path(args.plant).name,
    }
    write_bundle(out, manifest, {"policy.onnx": work / "policy.onnx"}, provenance=provenance)
    if not args.keep_work:
        shutil.rmtree(work)
    if args.json:
        print(json.dumps({"bundle": str(out), **provenance}))
    else:
        print(f"bundle: {out}")
    line, fell = verdict(evaluation)
    if line:
        print(f"{'WARNING: it falls: ' if fell else ''}{line}" + (
            "; train it longer (--minutes, --rounds)" if fell else ""), file=sys.stderr)
    return 0


def _check(args: argparse.Namespace) -> tuple[int, ...]:
    """Refuses options that make no sense; returns the sizes of the hidden layers."""
    if args.minutes is not None and not 0 < args.minutes <= 24 * 60:
        raise Refused("--minutes", expected="more than 0, at most a day", found=f"{args.minutes}",
                      what_to_do="give a time in that range")
    for name, low in (("rounds", 1), ("history", 0), ("workers", 1), ("robots", 1), ("gestures", 0)):
        value = getattr(args, name)
        if value is not None and value < low:
            raise Refused(f"--{name}", expected=f"at least {low}", found=f"{value}", what_to_do="give more")
    if Path(args.out).exists():
        raise Refused("--out", expected="a folder that does not exist yet", found=args.out,
                      what_to_do="remove it or name another")
    sizes = args.hidden.split(",")
    if not all(size.isdigit() and 1 <= int(size) <= 4096 for size in sizes):
        raise Refused("--hidden", expected="sizes from 1 to 4096, with commas between", found=args.hidden,
                      what_to_do="give e.g. --hidden 512,256,128")
    return tuple(int(size) for size in sizes)


def _about(args: argparse.Namespace, teacher: Manifest) -> dict[str, Any]:
    data = json.loads(teacher.path.read_text(encoding="utf-8"))
    return {
        "source": f"exoactor export distill, teacher {teacher.name} ({data.get('source', 'source not stated')})",
        "licence": f"as the teacher's: {data.get('licence', 'not stated')}",
    }


def _clips(args: argparse.Namespace, teacher: Manifest, work: Path) -> tuple[tuple[str, float], ...]:
    """Every motion with its weight: half of the time the given ones, the rest recorded walks and gestures."""
    if teacher.kind != "tracker":
        return ()
    groups = [list(clip_files(args.motions))]
    made = work / "clips"
    made.mkdir(exist_ok=True)
    for name, makers in (
        ("gestures", generated_clips(teacher, args.gestures, args.seed)),
        ("walks", recorded_walks(settings_for(args.walks, model=args.walks_model)) if args.walks else ()),
    ):
        files = sorted(made.glob(f"{name}_*.npz"))
        if not files:
            for i, clip in enumerate(makers):
                save_clip(made / f"{name}_{i:03d}.npz", clip)
            files = sorted(made.glob(f"{name}_*.npz"))
        groups.append(files)
    weighed: list[tuple[str, float]] = []
    for share, group in zip(SHARES, groups, strict=True):
        seconds = [1 + load_clip(path, teacher.robot).duration_s for path in group]
        weighed += [(str(path), share * s / sum(seconds)) for path, s in zip(group, seconds, strict=True)]
    return tuple(weighed)


def clip_files(places: list[str]) -> Iterator[Path]:
    """The .npz files named or in the named folders, in order."""
    for place in places:
        path = find_clip(place)
        found = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not found:
            raise Refused("--motions", expected="clips (.npz)", found=f"none in {place}",
                          what_to_do="name a folder with clips")
        yield from found


def evaluate(folder: Path, clips: list[Path], teacher: Manifest) -> dict[str, Any]:
    """Lock-step runs of a student: every motion, and pushes and latency on the first.

    Returns:
        clips: name -> {fell, joint_error_rad}; pushes: {n_s, runs, falls}; latency_20_ms: {fell, joint_error_rad}.
    """
    controller = str(folder / "controller.json")
    if teacher.kind != "tracker":
        report = measure(settings_for(controller, command=(0.3, 0.0, 0.0), duration_s=8.0))
        return {"fell": report["fell"], "speed_m_s": report["tracking"]["speed_m_s_mean"]}
    rows = {path.stem: _short(measure(settings_for(controller, clip=str(path)))) for path in clips}
    falls = 0
    for phase in range(4):
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            force = (PUSH_N_S / 0.1 * x, PUSH_N_S / 0.1 * y, 0.0)
            disturbance = Disturbance(pushes=(Push(7.0 + 0.25 * phase, 0.1, force),))
            falls += int(measure(settings_for(controller, clip=str(clips[0])), disturbance)["fell"])
    late = _short(measure(settings_for(controller, clip=str(clips[0])), Disturbance(latency_s=0.02)))
    return {"clips": rows, "pushes": {"n_s": PUSH_N_S, "runs": 16, "falls": falls}, "latency_20_ms": late}


def verdict(evaluation: dict[str, Any]) -> tuple[str, bool]:
    """What `evaluate` found, in a line, and whether the student fell anywhere; nothing where it was left out."""
    if "clips" not in evaluation:
        speed = evaluation.get("speed_m_s")
        return (f"asked for 0.3 m/s: {speed:.2f} m/s" if speed is not None else "", bool(evaluation.get("fell")))
    clips, pushes, late = evaluation["clips"], evaluation["pushes"], evaluation["latency_20_ms"]
    errors = [row["joint_error_rad"] for row in clips.values() if not row["fell"]]
    fallen = len(clips) - len(errors)
    line = f"fell on {fallen} of {len(clips)} motions" + (
        f", joint error {sum(errors) / len(errors):.3f} rad on the others" if errors else "")
    line += f"; {pushes['falls']} of {pushes['runs']} pushes; with 20 ms latency "
    line += "it fell" if late["fell"] else "upright"
    return line, bool(fallen or pushes["falls"] or late["fell"])


def _short(report: dict[str, Any]) -> dict[str, Any]:
    return {"fell": report["fell"], "joint_error_rad": report["tracking"]["joint_error_rad_mean"]}
