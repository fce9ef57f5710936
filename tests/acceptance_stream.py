"""What a streamed motion must show, measured: a table of requirement, measured value and verdict.

    python -m tests.acceptance_stream [--only walk,killed,minute,smpl,network,foreign,human] [--seeds 20] [--json FILE]

Not a test of the suite: it takes half an hour; `network`, `foreign` and `human` are real processes and want the
machine for themselves. Exit code 1 when something falls short. The human motion lies in $EXOACTOR_SHARED_DATA, else in
../shared/data, folder `mocap`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from export.motion.convert import Wish, convert
from export.motion.smpl_channels import human_clip
from export.motion.source import read_any
from export.recorder import settings_for
from firmware_bridge.motor_bus import Q
from firmware_bridge.simulated_robot import Disturbance
from runtime.clip import Clip, load_clip, save_clip
from runtime.faults import Mode
from runtime.human_motion import HumanMotion
from runtime.log_file import read_log
from runtime.mux import Source
from runtime.packed_message import ORDER
from runtime.pilot import Phase
from runtime.robot import JointOrder, load_robot
from runtime.settings import GATE_HZ
from tests.acceptance import Table
from tests.handover_trial import NOISE, OperatedRun
from tests.human_stream import Followed, HumanRun, there_and_back
from tests.live_run import ROOT, LiveRun, has_fifo
from tests.test_packed_message import message
from tests.test_streamed_run import StreamedRun

MS = 1_000_000
DOMAIN = 110
BAD = ["--loss", "0.05", "--jitter-ms", "20", "--twice", "0.05"]
HUMANS = ("cmu_07_01_walk", "cmu_09_12_walk", "cmu_13_30_squats")
HUMAN_S = 40.0
FILED = 5
"""Runs of a human's clip from its file, to compare steps with."""


def walked(kind: str, seed: int) -> tuple[float, bool]:
    """The largest step asked for, of the gate's rate limit, by a walk from its file or streamed; whether it fell."""
    if kind == "file":
        run = OperatedRun(settings_for("g1-tracker", clip="walk"), Disturbance(**NOISE, seed=seed) if seed else None)
    else:
        run = StreamedRun("walk", seed, begins_s=0.5 + 0.07 * seed)
    with np.errstate(all="ignore"):
        run.go_on(9.5)
    return run.steps["tracker"].demanded, run.fell


def walk(table: Table, options: argparse.Namespace) -> None:
    """A walk asks for no more over a bad link than from its file."""
    with ProcessPoolExecutor(options.jobs) as pool:
        found = {kind: list(pool.map(walked, [kind] * options.seeds, range(options.seeds)))
                 for kind in ("file", "stream")}
    table.figures["walk"] = found
    most = {kind: max(asked for asked, _ in runs) for kind, runs in found.items()}
    falls = sum(fell for _, fell in found["stream"])
    table.add("a walk over 5 % loss, 5 % twice, 30 ms jitter asks for no more than from its file",
              f"{most['stream']:.2f} of the rate limit, {most['file']:.2f} from the file; {falls} falls of "
              f"{options.seeds}", most["stream"] <= most["file"] * 1.02 and not falls)


def killed_run(seed: int) -> dict[str, Any]:
    """A sender that dies, and comes back."""
    run, found = StreamedRun(seed=seed), {}
    with np.errstate(all="ignore"):
        run.go_on(5.0 + 0.0137 * seed)
        found["followed"] = run.policy.helm.source is Source.STREAM and run.gate.machine.mode is Mode.TRACK
        run.is_sending = False
        for mode in (Mode.HOLD, Mode.STAND):
            while run.gate.machine.mode is not mode and run.now_ns - run.intake.newest_ns < 10**9:
                run.go_on(0.002)
            found[f"{mode.name}_ms"] = (run.now_ns - run.intake.newest_ns) / MS
        run.go_on(2.0)
        run.is_sending = True
        run.go_on(2.0)
        found["waits"] = run.gate.machine.mode is Mode.STAND
        run.ask()
        run.go_on(2.5)
    return {**found, "back": run.policy.helm.source is Source.STREAM, "fell": run.fell,
            "asked": run.steps["tracker"].demanded}


def killed(table: Table, options: argparse.Namespace) -> None:
    """A sender killed, over a bad link on simulated time."""
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(killed_run, range(options.seeds)))
    table.figures["killed"] = runs
    good = [run for run in runs if run["followed"] and not run["fell"]]
    table.add("followed without a false hold, and no fall after the sender ended", f"{len(good)} of {len(runs)}",
              len(good) == len(runs))
    for mode, limit_ms in (("HOLD", 100), ("STAND", 300)):
        times = [run[f"{mode}_ms"] for run in runs]
        table.add(f"{mode.lower()} within {limit_ms} ms of the last frame", f"{min(times):.0f} to {max(times):.0f} ms",
                  max(times) <= limit_ms)
    back = [run for run in runs if run["waits"] and run["back"]]
    asked = max(run["asked"] for run in runs)
    table.add("sender back: followed when asked and not before", f"{len(back)} of {len(runs)}", len(back) == len(runs))
    table.add("no step above the rate limit", f"{asked:.2f} of it", asked <= 1)


def live(table: Table, name: str, send: Callable[[str, threading.Event], None], seconds: float) -> None:
    """A sender into a run of real processes: no fall, no fault."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        is_over = threading.Event()
        words = [] if has_fifo() else ["--no-realtime"]
        with LiveRun(Path(folder) / "run", "--stream", address, "--domain", DOMAIN, "--duration", seconds,
                     *words) as run:
            sender = threading.Thread(target=send, args=(address, is_over), daemon=True)
            sender.start()
            run.finish(seconds + 90)
            is_over.set()
            sender.join(10)
        report = run.report
        table.figures[name] = report
        delays = report.get("timing", {})
        faults = [fault["flag"] for fault in report.get("faults", [])]
        counts = {key: value for key, value in report.get("stream", {}).items() if value}
        table.add(f"{name}: no fall, no false hold", f"outcome {report.get('outcome')}, fell {report.get('fell')}, "
                  f"flags {faults}, {counts}",
                  report.get("outcome") == "done" and not faults)
        added, age = (delays.get(key, {}) for key in ("stream_added_us", "stream_age_us"))
        table.add(f"{name}: followed, added delay reported", f"added {added}, age {age}", added.get("p50") is not None)
        said = [line for line in (run.output + run.errors).splitlines() if "stream" in line]
        table.figures[f"{name}, story"] = told = story(Path(folder) / "run") if report else "no report"
        print(f"       {told}; said {said}", file=sys.stderr, flush=True)


def _command(file: str, *words: str) -> Callable[[str, threading.Event], None]:
    def send(address: str, is_over: threading.Event) -> None:
        with subprocess.Popen([sys.executable, "-m", "exoactor", "motion", "stream", file, "--to", address, *words],
                              cwd=ROOT, stdout=subprocess.DEVNULL) as sender:
            with contextlib.suppress(OSError):  # it stands for another computer
                os.setpriority(os.PRIO_PROCESS, sender.pid, -10)
            is_over.wait()
            sender.kill()

    return send


def lossy_run(seed: int) -> tuple[list[str], bool, int]:
    """A minute over a bad link on simulated time: modes, whether it fell, frames lost on the way."""
    run = StreamedRun(seed=1000 + seed)
    with np.errstate(all="ignore"):
        run.go_on(64.0)
    return [mode.name for mode in run.modes], run.fell, run.intake.counts["missing"]


def minute(table: Table, options: argparse.Namespace) -> None:
    """60 s over a bad network on simulated time, where nothing but the network is late."""
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lossy_run, range(options.seeds)))
    table.figures["minute"] = runs
    good = [run for run in runs if run[0][-1] == "TRACK" and not run[1]]
    table.add("60 s on simulated time, 5 % loss, 5 % twice, 30 ms jitter: no fall, no false hold",
              f"{len(good)} of {len(runs)}, {sum(run[2] for run in runs)} frames lost", len(good) == len(runs))


def network(table: Table, options: argparse.Namespace) -> None:
    """60 s over a bad network, by our own sender."""
    live(table, "motion stream, 5 % loss, 20 ms jitter, 5 % twice", _command("sway", *BAD, "--repeat", "20"), 64.0)


def foreign(table: Table, options: argparse.Namespace) -> None:
    """The same from a publisher that knows no more than the protocol's description."""
    robot = load_robot("g1_29dof")
    clip = load_clip("sway", robot)
    joints = clip.joint_pos[:, clip.order.index_of(JointOrder(ORDER))]
    draw = np.random.default_rng(0)

    def send(address: str, is_over: threading.Event) -> None:
        import zmq

        publisher = zmq.Context.instance().socket(zmq.PUB)
        publisher.bind(address)
        began, due = time.monotonic(), list[tuple[float, bytes]]()
        for number in range(120 * 50):
            place = number % (2 * len(joints) - 2)
            i = place if place < len(joints) else 2 * len(joints) - 2 - place
            data = message([("joint_pos", "f32", [1, 29], joints[i]), ("joint_vel", "f32", [1, 29], np.zeros(29)),
                            ("body_quat_w", "f64", [1, 1, 4], clip.root_quat_wxyz[i]),
                            ("last_smpl_global_frames", "i32", [1], number)])
            copies = int(draw.random() >= 0.05) + int(draw.random() < 0.05)
            due += [(number / 50 + draw.uniform(0, 0.025), data) for _ in range(copies)]
        for at, data in sorted(due):
            if is_over.wait(max(0.0, began + at - time.monotonic())):
                break
            publisher.send(data)
        publisher.close(0)

    live(table, "a publisher from the description alone, 25 ms jitter", send, 60.0)


def human_clip_of(name: str) -> Clip:
    """A mocap file of the shared folder as `motion convert` makes it for a stream."""
    root = Path(os.environ.get("EXOACTOR_SHARED_DATA", ROOT.parent / "shared" / "data")) / "mocap"
    robot = load_robot("g1_29dof")
    motion = read_any(str(next(root.rglob(f"{name}*"))), robot)
    assert isinstance(motion, HumanMotion)
    return human_clip(motion, robot, 50.0)


def filed_run(name: str, seed: int) -> float:
    """The largest step that the same human's clip asks for from a file, of the rate limit, with sensor noise."""
    root = Path(os.environ.get("EXOACTOR_SHARED_DATA", ROOT.parent / "shared" / "data")) / "mocap"
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        convert(next(root.rglob(f"{name}*")), Path(folder) / "clip.npz", Wish(retarget=True))
        run = OperatedRun(settings_for("g1-tracker", clip=f"{folder}/clip.npz"), Disturbance(**NOISE, seed=seed))
        while run.policy.pilot.phase is not Phase.FINISHED and not run.is_over:
            run.operate()
            run.tick()
    return run.steps["tracker"].demanded


def followed_run(name: str, seed: int) -> Followed:
    """A human over a bad link on simulated time."""
    return HumanRun(human_clip_of(name), seed, begins_s=2.5 + 0.07 * seed).follow()


def smpl(table: Table, options: argparse.Namespace) -> None:
    """SMPL frames for a tracker of joints on simulated time: walking, walking that turns, squatting."""
    for name in HUMANS:
        with ProcessPoolExecutor(options.jobs) as pool:
            runs = list(pool.map(followed_run, [name] * options.seeds, range(options.seeds)))
            filed = max(pool.map(filed_run, [name] * FILED, range(1, 1 + FILED)))
        table.figures[f"smpl {name}"] = [asdict(run) for run in runs]
        good = sum(run.is_good for run in runs)
        table.add(f"SMPL frames of {name}, 5 % loss, 5 % twice, 20 ms jitter: engaged, followed, no fall, no flag",
                  f"{good} of {len(runs)}; followed for {min(run.followed_s for run in runs):.1f} s and more",
                  good == len(runs))
        most = max(run.demanded for run in runs)
        table.add(f"SMPL frames of {name}: no step above the rate limit, or above those of its clip from a file",
                  f"at most {most:.2f} of it, from its file {filed:.2f}", most <= max(1.0, filed))


def story(out: Path) -> str:
    """When a real run engaged, for how long it followed, every mode and the largest step asked for, from its log."""
    log, robot = read_log(out / "log.mcap"), load_robot("g1_29dof")
    gate, policy = log.topics["gate"], log.topics["policy"]
    began_ns = int(policy["now_ns"][policy["mode"] >= Mode.TRACK][0])
    since_s = (policy["now_ns"] - began_ns) * 1e-9
    follows = policy["source"] == Source.STREAM
    if not follows.any():
        return "never engaged"
    turns = np.flatnonzero(np.diff(gate["mode"])) + 1
    modes = [f"{Mode(int(gate['mode'][i])).name} at {(int(gate['now_ns'][i]) - began_ns) * 1e-9:.2f} s" for i in turns]
    before = np.searchsorted(gate["now_ns"], policy["now_ns"]).clip(1) - 1
    asked = policy["target"][:, :, Q].clip(robot.column("lower_rad"), robot.column("upper_rad"))
    limit = robot.column("velocity_rad_s") * robot.limits.target_rate_ratio / GATE_HZ
    away, used = np.abs(asked - gate["command"][before][:, :, Q]), robot.used
    steps = (away[:, used] / limit[used]).max(axis=1)
    return (f"engaged at {since_s[follows][0]:.2f} s, followed for {follows.sum() / 50:.1f} s, largest step "
            f"{steps[follows].max():.2f} of the rate limit ({(steps[follows] > 1).sum()} above), {', '.join(modes)}")


def human(table: Table, options: argparse.Namespace) -> None:
    """A human's motions as SMPL frames into our own tracker of joints, there and back, in real processes."""
    for name in HUMANS:
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/human.npz"
            save_clip(file, there_and_back(human_clip_of(name), HUMAN_S))
            live(table, f"SMPL frames of {name}, 5 % loss, 20 ms jitter, 5 % twice",
                 _command(file, "--protocol", "2", *BAD), HUMAN_S - 8.0)


SECTIONS: dict[str, Callable[[Table, argparse.Namespace], None]] = {
    "walk": walk, "killed": killed, "minute": minute, "smpl": smpl, "network": network, "foreign": foreign,
    "human": human}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, of {', '.join(SECTIONS)}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json")
    options = parser.parse_args()
    table = Table()
    for name in options.only.split(","):
        SECTIONS[name](table, options)
    return table.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
