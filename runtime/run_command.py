"""`exoactor run`: a controller on a robot, simulated or real, and a report of what happened."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_port import find_port
from firmware_bridge.sim_options import add_robot_options, robot_option_words
from firmware_bridge.wiring import read_wiring
from runtime.admission import Admitted, admit
from runtime.backend import BACKEND_HELP, BACKENDS
from runtime.calibration_file import add_calibration_options, calibration_of, calibration_settings
from runtime.chain import chain_names, find_chain, read_chain
from runtime.clip import OWN_CLIP, clip_names
from runtime.errors import Refused
from runtime.gate_bus import refuse_clipped_gains, refuse_misfit
from runtime.hand_options import add_hand_options, hand_settings
from runtime.limits import loosened
from runtime.manifest import OWN_CONTROLLER
from runtime.operator_options import add_operator_options, operator_settings
from runtime.preflight import refuse_red
from runtime.preflight_list import WATCHED_BY_RUN, list_for_run
from runtime.report_file import NAME, write_report
from runtime.robot import NO_WIRE, robot_path
from runtime.settings import RunSettings
from runtime.steered import NO_CONTROLLER, USUAL
from runtime.stream_socket import check_address, check_stream
from runtime.targets import TARGETS, named_target, target_among

if TYPE_CHECKING:
    from firmware_bridge.simulated_robot import SimulatedRobot
    from runtime.policy import Policy

ALLOW_UNSIGNED_HELP = (
    "take a bundle that no trusted key has signed, or a bare manifest for a real robot; hashes still have to be right"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor run`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor run --lockstep --out runs/own          our own controller, walking, as fast as it can\n"
        "  exoactor run --clip squat --out runs/squat      another demonstration, in real time\n"
        "  exoactor run --chain demo --lockstep            five of them, one after the other\n"
        "  exoactor run --chain day.json --follow          and more, appended while it moves\n"
        "  exoactor run --controller twist2 --model twist2.onnx --clip walk.npz --out runs/walk\n"
        "  exoactor run --controller holosoma-velocity --model ppo.onnx --command 0.5,0,0 --duration 10 --lockstep\n"
        "  exoactor run --controller bundles/twist2 --clip walk.npz --robot g1 --interface eth0 --dry-run\n"
        "  exoactor run --robot my_robot.json --clip squat"
    )
    parser.add_argument("--controller", help=f"name, manifest (.json) or bundle folder (default: {OWN_CONTROLLER})")
    parser.add_argument("--model", help="ONNX file, when the controller does not bring its own")
    parser.add_argument("--clip", help="motion for a tracker: .npz file, or a shipped one by name: "
                        f"{', '.join(clip_names())} (without --controller: {OWN_CLIP})")
    parser.add_argument("--stream", metavar="tcp://HOST:PORT",
                        help="motion for a tracker from a sender of SONIC's protocol, e.g. tcp://127.0.0.1:5556")
    parser.add_argument("--stream-topic", default="pose", metavar="TOPIC", help="of its poses (default: pose)")
    parser.add_argument("--stream-key", metavar="FILE", help="its CURVE certificate (needed off loopback)")
    parser.add_argument("--stream-out", metavar="tcp://HOST:PORT",
                        help="publish SONIC's g1_debug and robot_config, e.g. at tcp://127.0.0.1:5557")
    parser.add_argument("--stream-out-key", metavar="FILE", help="secret CURVE certificate (needed off loopback)")
    parser.add_argument("--chain", metavar="FILE|NAME", help="clips one after the other (docs/chains.md), instead of "
                        f"--clip: a .json file, or a shipped one by name: {', '.join(chain_names())}")
    parser.add_argument("--follow", action="store_true", help="the chain's FILE may grow while it is played: "
                        "`exoactor chain append FILE CLIP`")
    parser.add_argument("--follow-timeout", type=float, metavar="S",
                        help="end after so long without more, standing (default: wait for ever)")
    parser.add_argument("--command", default="0,0,0", metavar="VX,VY,YAW_RATE",
                        help="m/s, m/s, rad/s for a velocity controller")
    parser.add_argument("--mode", help="mode of a controller that has several (default: its first)")
    parser.add_argument("--duration", type=float, metavar="S", help="play at most this long")
    parser.add_argument("--out", help="folder for report and log (default: runs/<time>)")
    parser.add_argument("--lockstep", action="store_true", help="one process, simulated time")
    parser.add_argument("--robot", type=target_among(TARGETS), default="sim", metavar="TARGET",
                        help="sim: start a simulated one; dds: somebody else's on the network; g1: the real one; "
                        "unitree-mujoco: Unitree's own simulator, unchecked; FILE.json: motors on serial ports "
                        "(docs/serial.md)")
    parser.add_argument("--domain", type=int, help="DDS domain (default 1, with --robot g1 0)")
    parser.add_argument("--interface", help="network interface (default: loopback)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="everything but write commands")
    parser.add_argument("--estimator", metavar="NAME|BUNDLE",
                        help="classical, or a learned estimator: of base velocity, height and foot contacts")
    parser.add_argument("--keep-place", choices=("on", "off"),
                        help="help a tracker that follows velocities to stay at its motion's place (default: as its "
                        "manifest says)")
    parser.add_argument("--teleop-controller", metavar="NAME|BUNDLE",
                        help="the velocity controller that an operator steers (default: the run's own if it takes "
                        f"velocities, else {USUAL}; {NO_CONTROLLER}: an operator can only stream or stop)")
    parser.add_argument("--teleop-model", metavar="FILE", help="its ONNX file, when it does not bring its own")
    parser.add_argument("--backend", choices=BACKENDS, default="cpu", help=BACKEND_HELP)
    add_calibration_options(parser)
    parser.add_argument("--allow-unsigned", action="store_true", help=ALLOW_UNSIGNED_HELP)
    parser.add_argument("--no-realtime", action="store_true", help="do not ask for SCHED_FIFO and locked memory")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_hand_options(parser)
    add_operator_options(parser.add_argument_group("operator (not with --lockstep)"))
    add_robot_options(parser.add_argument_group("simulated robot (--robot sim)"))


def run(args: argparse.Namespace) -> int:
    """One run; returns the exit code."""
    out = Path(args.out) if args.out else Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    (out / NAME).unlink(missing_ok=True)
    try:
        report = _run(args, out)
    except BridgeError as error:
        refusal = {"what": error.what, "expected": error.expected, "found": error.found,
                   "what_to_do": error.what_to_do}
        write_report(out, {"outcome": "refused", "fell": False, "ticks": 0, "faults": [], "refusal": refusal})
        raise
    if args.json:
        print(json.dumps(report))
    else:
        _say(report, out)
    return 0 if report["outcome"] == "done" else 1


def _run(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    if args.chain is not None:
        if args.clip is not None or args.stream is not None:
            raise Refused("--chain", expected="neither --clip nor --stream beside it", found="both",
                          what_to_do="leave one of the two out")
        read_chain(find_chain(args.chain))
        args.clip = str(find_chain(args.chain))
    if args.controller is None:
        args.controller, args.clip = OWN_CONTROLLER, args.clip or (None if args.stream else OWN_CLIP)
    args.robot, args.wiring = named_target(args.robot)
    _check_arguments(args)
    admitted = admit(args.controller, target=args.robot, allow_unsigned=args.allow_unsigned)
    warnings = [*admitted.warnings, *loosened(admitted.manifest.robot.limits)]
    for line in warnings:
        print(f"WARNING: {line}", file=sys.stderr)
    settings = _settings(args, admitted, out)
    calibration_of(settings.calibration, admitted.manifest.robot, settings.serial)
    factor: float | None
    if args.lockstep:
        factor, notes = _lockstep(args, settings, out)
    else:
        factor, notes = _processes(args, settings, admitted)
    notes["warnings"] = [*warnings, *notes["warnings"]]
    from runtime.report import make_report

    return make_report(out, admitted.manifest, real_time_factor=factor, notes=notes)


def _lockstep(args: argparse.Namespace, settings: RunSettings, out: Path) -> tuple[float, dict[str, Any]]:
    from firmware_bridge.sim_options import make_ailments, make_robot, parse_press
    from runtime.chain_feeder import ChainFeeder
    from runtime.lockstep import run_lockstep
    from runtime.policy import Policy

    policy = Policy(settings)
    if settings.backend == "auto":
        print(f"backend: {policy.backend_note}", file=sys.stderr)
    settings = replace(settings, backend=policy.backend)
    args.robot_file = args.robot_file or str(robot_path(policy.manifest.robot_file))
    robot = make_robot(args)
    check_plant(policy, robot)
    ailments = make_ailments(args, robot)
    heard: list[str] = []
    feeder = ChainFeeder(settings, policy) if settings.follow else None
    factor = run_lockstep(settings, policy, robot, out, parse_press(args.press), ailments, heard, feeder)
    objects = {name: pose.tolist() for name, pose in robot.object_poses().items()}
    warnings = [*policy.warnings, *heard, *(() if feeder is None else feeder.chain.refusals)]
    return factor, {"backend": policy.backend, "warnings": warnings, "errors": [], "gate_restarts": 0, "alarms": [],
                    **({"objects": objects} if objects else {}),
                    **({} if policy.hands is None else {"hand_events": policy.hands.events}),
                    **({} if feeder is None else {"chain": feeder.chain.notes})}


def _processes(args: argparse.Namespace, settings: RunSettings, admitted: Admitted) -> tuple[None, dict[str, Any]]:
    from runtime.policy_driver import PolicyDriver
    from runtime.supervisor import Supervisor

    admitted.model(settings.model)
    for stage in admitted.manifest.stages:
        admitted.stage_model(stage)
    args.robot_file = args.robot_file or str(robot_path(admitted.manifest.robot_file).absolute())
    words = ["--domain", str(settings.domain), *robot_option_words(args)]
    if settings.interface:
        words += ["--interface", settings.interface]
    for peer in settings.peers:
        words += ["--peer", peer]
    if args.no_realtime:
        words.append("--no-realtime")
    if settings.hands is not None:
        words += ["--hands", settings.hands]
    if args.robot == "unitree-mujoco":
        print("WARNING: profile unitree-mujoco: no CRC, no counter, no variant is checked. For that simulator only.",
              file=sys.stderr)
    warnings = _preflight(settings, admitted)
    supervisor = Supervisor(settings, PolicyDriver(settings, admitted.manifest), words)
    supervisor.notes["warnings"] += warnings
    supervisor.run()
    return None, supervisor.notes


def _preflight(settings: RunSettings, admitted: Admitted) -> list[str]:
    """The list of `exoactor check` as far as a run does not look by itself; what it advises, one line each.

    Raises:
        Refused: a required line is red. A dry run, which can move nothing, goes on and says so.
    """
    checks = list(list_for_run(settings, admitted.manifest))
    lines = json.dumps([check.as_dict() for check in checks], indent=1)
    (Path(settings.out) / "preflight.json").write_text(lines, encoding="utf-8")
    if not settings.dry_run:
        refuse_red(checks)
    is_shown = settings.target in WATCHED_BY_RUN
    warnings = [f"preflight, {check.check}: {check.measured} (limit: {check.limit}); {check.what_to_do}"
                for check in checks if check.is_red or (is_shown and not check.ok)]
    for line in warnings:
        print(f"WARNING: {line}", file=sys.stderr)
    return warnings


def check_plant(policy: Policy, simulated: SimulatedRobot) -> None:
    """The simulated robot's motors must be the controller's robot's, and the variant one it may be."""
    robot, joint_names = policy.manifest.robot, simulated.joint_names
    if robot.mode_machine and simulated.mode_machine not in robot.mode_machine:
        raise Refused("mode_machine", expected=f"{robot.mode_machine} ({robot.description})",
                      found=f"{simulated.mode_machine}", what_to_do="choose the controller of this variant")
    wanted = [""] * robot.motors
    for joint in robot.joints:
        wanted[joint.motor] = joint.name
    if list(joint_names) != wanted:
        raise Refused("--robot-file", expected=f"the motors of {robot.name}: {', '.join(filter(None, wanted))}",
                      found=", ".join(filter(None, joint_names)), what_to_do="leave it out, or name this robot's file")


def _check_arguments(args: argparse.Namespace) -> None:
    if args.follow and args.chain is None:
        raise Refused("--follow", expected="--chain FILE", found="none", what_to_do="name the chain to follow")
    if args.follow_timeout is not None and not (args.follow and 0 < args.follow_timeout <= 86400):
        raise Refused("--follow-timeout", expected="--follow, and seconds between 0 and 86400",
                      found=f"{args.follow_timeout}", what_to_do="give a time in that range, with --follow")
    if args.lockstep and args.dry_run:
        raise Refused("--dry-run", expected="a run over DDS", found="--lockstep",
                      what_to_do="simulated time has nothing to keep quiet towards: leave one of the two out")
    if args.stream is not None:
        check_stream(args.stream, args.stream_key, args.stream_topic)
        if args.lockstep:
            raise Refused("--stream", expected="a run in real time", found="--lockstep",
                          what_to_do="simulated time hears no network: leave one of the two out")
    if args.stream_out is not None:
        check_address(args.stream_out, args.stream_out_key, "--stream-out")
        if args.lockstep:
            raise Refused("--stream-out", expected="a run in real time", found="--lockstep",
                          what_to_do="look at the log of a run on simulated time: leave one of the two out")
    if args.lockstep and args.robot != "sim":
        raise Refused("--lockstep", expected="--robot sim", found=f"--robot {args.robot}",
                      what_to_do="simulated time needs our own simulated robot: leave one of the two out")
    check_interface(args.robot, args.interface)
    if args.robot == "unitree-mujoco" and args.interface not in (None, "lo"):
        raise Refused("--robot unitree-mujoco", expected="loopback", found=f"--interface {args.interface}",
                      what_to_do="this unchecked profile is for a simulator on this machine only")
    if args.duration is not None and not 0 < args.duration <= 3600:
        raise Refused("--duration", expected="seconds between 0 and 3600", found=f"{args.duration}",
                      what_to_do="give a time in that range")


def check_interface(robot: str, interface: str | None) -> None:
    """A real robot is looked for on a network that somebody named.

    Raises:
        Refused: nobody did.
    """
    if robot == "g1" and not interface:
        raise Refused("--robot g1", expected="--interface NAME", found="none",
                      what_to_do="name the network interface the robot's cable is on, e.g. --interface eth0")


def _robot_file(admitted: Admitted, out: Path) -> str:
    """The robot's name or file for the other processes; one that a bundle brings is copied as it was verified."""
    name = admitted.manifest.robot_file
    if admitted.bundle is None or not name.endswith(".json"):
        return name
    copy = out / "robot.json"
    copy.write_bytes(admitted.bundle.files[Path(name).relative_to(admitted.manifest.path.parent).as_posix()])
    return str(copy)


def _settings(args: argparse.Namespace, admitted: Admitted, out: Path) -> RunSettings:
    robot = admitted.manifest.robot
    if robot.wire == NO_WIRE and not args.lockstep and args.wiring is None:
        raise Refused(f"robot {robot.name}", expected="--lockstep", found="a run over DDS",
                      what_to_do="its file knows no wire: it runs on simulated time only")
    wiring = None if args.wiring is None else refuse_misfit(read_wiring(Path(args.wiring)), robot)
    if wiring is not None:
        gains = np.zeros((2, robot.motors), np.float32)
        gains[:, robot.motor_index(admitted.manifest.order)] = admitted.manifest.kp, admitted.manifest.kd
        refuse_clipped_gains(wiring, robot, gains[0], gains[1])
    if wiring is not None and wiring.estop is not None:
        args.estop.append(f"{wiring.estop.protocol}:{find_port(wiring.estop.port)}")
    return RunSettings(
        controller=str(args.controller),
        robot=_robot_file(admitted, out),
        model=args.model,
        teleop_controller=args.teleop_controller,
        teleop_model=args.teleop_model,
        clip=args.clip,
        follow=args.follow,
        follow_timeout_s=args.follow_timeout,
        stream=args.stream,
        stream_topic=args.stream_topic,
        stream_key=args.stream_key,
        stream_out=args.stream_out,
        stream_out_key=args.stream_out_key,
        command=parse_command(args.command),
        duration_s=args.duration,
        target=args.robot,
        domain=args.domain if args.domain is not None else (0 if args.robot == "g1" else 1),
        interface=args.interface,
        peers=tuple(args.peer),
        out=str(out),
        rate_hz=admitted.manifest.rate_hz,
        backend=args.backend,
        dry_run=args.dry_run,
        real_time=not args.no_realtime,
        allow_unsigned=args.allow_unsigned,
        trust=admitted.trust,
        estimator=args.estimator,
        keep_place=None if args.keep_place is None else args.keep_place == "on",
        mode=args.mode,
        wiring=args.wiring,
        **calibration_settings(args),
        **operator_settings(args),
        **hand_settings(args, None if wiring is None else wiring.hands),
    )


def parse_command(text: str) -> tuple[float, float, float]:
    """VX,VY,YAW_RATE as three finite numbers."""
    try:
        x, y, yaw = (float(part) for part in text.split(","))
    except ValueError:
        raise Refused("--command", expected="VX,VY,YAW_RATE", found=text,
                      what_to_do="give three numbers, e.g. --command 0.5,0,0") from None
    return x, y, yaw


def _say(report: dict[str, Any], out: Path) -> None:
    tracking = report["tracking"]
    parts = [f"outcome {report['outcome']}", f"fell {'yes' if report['fell'] else 'no'}",
             f"{report['duration_s']} s"]
    if tracking["joint_error_rad_mean"] is not None:
        parts.append(f"joint error {tracking['joint_error_rad_mean']:.4f} rad")
    if tracking["root_height_error_m_mean"] is not None:
        parts.append(f"height error {tracking['root_height_error_m_mean']:.4f} m")
    if tracking["speed_m_s_mean"] is not None:
        parts.append(f"speed {tracking['speed_m_s_mean']:.2f} m/s")
    if report["real_time_factor"] is not None:
        parts.append(f"{report['real_time_factor']:.1f}x real time")
    print(", ".join(parts))
    for fault in report["faults"]:
        print(f"  {fault['time_s']:8.3f} s  {fault['flag']}: {fault['meaning']} "
              f"(measured {fault['measured']} {fault['unit']}, limit {fault['limit']}) -> {fault['reaction']}")
    for line in report["errors"]:
        print(f"  error: {line}")
    print(f"report: {out / 'report.html'}")
