"""Command-line options of the simulated robot, shared by every command that starts one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_bridge.errors import BridgeError
from firmware_bridge.fixture import FIXTURES
from firmware_bridge.remote import BUTTONS, button_mask

if TYPE_CHECKING:
    from firmware_bridge.ailments import Ailments
    from firmware_bridge.simulated_robot import SimulatedRobot

PLANT = Path(__file__).with_name("plants") / "g1_29dof.xml"


def add_robot_options(parser: argparse._ActionsContainer) -> None:
    """What a simulated robot is and what happens to it."""
    parser.add_argument("--plant", default=str(PLANT), help="MJCF file")
    parser.add_argument("--robot-file", metavar="FILE.json",
                        help="robot table: names its motors, torque limits and heights (default: the controller's; "
                        "for `sim` the plant's own actuators, in their order)")
    parser.add_argument("--scene", metavar="FILE.json", help="things that stand around it (docs/evaluate.md)")
    parser.add_argument("--mode-machine", type=int, help="the variant it says it is (default: 5 where the robot may)")
    parser.add_argument("--noise", type=float, default=0.0, metavar="RAD",
                        help="uniform noise: RAD on positions, 50x on velocities, 20x on the gyro")
    parser.add_argument("--latency", type=float, default=0.0, metavar="S", help="delay commands")
    parser.add_argument("--loss", type=float, default=0.0, metavar="P", help="fraction of states lost")
    parser.add_argument("--push", action="append", default=[], metavar="T,DT,FX,FY,FZ",
                        help="force on the torso (s, s, N, N, N); repeatable")
    parser.add_argument("--press", metavar="T,BUTTONS",
                        help="press buttons of the remote from T seconds on: 8,L2+B; never,L2+B: once SIGUSR1 comes")
    parser.add_argument("--ailment", action="append", default=[], metavar="NAME@T[,key=value]",
                        help="what will be wrong with it from T seconds on (docs/campaign.md); repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-gantry", action="store_true", help="start free, not hanging")
    parser.add_argument("--hang", action="store_true", help="hang by the torso for good, as on a test bench")
    parser.add_argument("--fixture", choices=tuple(FIXTURES), help="a plate that holds both feet to each other, or a "
                        "bar that holds both hands (docs/calibration.md)")
    parser.add_argument("--fine-physics", action="store_true", help="with --truth: steps of 0.25 ms, in which friction "
                        "and rotors of a hanging robot are what they are")
    parser.add_argument("--truth", metavar="FILE.json", help="in what it differs from a perfect robot, for "
                        "calibration to find out (docs/calibration.md)")


def robot_option_words(args: argparse.Namespace) -> list[str]:
    """The same options as words for another command line."""
    words = ["--plant", args.plant, "--noise", str(args.noise), "--latency", str(args.latency),
             "--loss", str(args.loss), "--seed", str(args.seed)]
    if args.robot_file:
        words += ["--robot-file", args.robot_file]
    if args.scene:
        words += ["--scene", str(Path(args.scene).absolute())]
    if args.mode_machine is not None:
        words += ["--mode-machine", str(args.mode_machine)]
    for push in args.push:
        words += ["--push", push]
    for ailment in args.ailment:
        words += ["--ailment", ailment]
    if args.press:
        words += ["--press", args.press]
    if args.truth:
        words += ["--truth", str(Path(args.truth).absolute())]
    words += ["--fixture", args.fixture] if args.fixture else []
    words += ["--hang"] if args.hang else []
    words += ["--fine-physics"] if args.fine_physics else []
    return [*words, "--no-gantry"] if args.no_gantry else words


def parse_press(text: str | None) -> tuple[float, int]:
    """When which buttons are pressed: seconds, infinite for "never", and bits; never for None."""
    if text is None:
        return float("inf"), 0
    try:
        start, names = text.split(",")
        return float("inf") if start == "never" else float(start), button_mask(names.split("+"))
    except ValueError:
        raise BridgeError("--press", expected=f"T,BUTTONS with buttons among {', '.join(BUTTONS)}", found=text,
                          what_to_do="give e.g. 8,L2+B") from None


def make_robot(args: argparse.Namespace) -> SimulatedRobot:
    """The robot the options describe.

    Raises:
        BridgeError: an option that makes no sense, or a plant that does not load.
    """
    from firmware_bridge.motor_table import read_motor_table
    from firmware_bridge.scene import load_scene
    from firmware_bridge.simulated_robot import Disturbance, Push, SimulatedRobot
    from firmware_bridge.truth import load_truth

    pushes = []
    for text in args.push:
        try:
            start, duration, x, y, z = (float(part) for part in text.split(","))
        except ValueError:
            raise BridgeError("--push", expected="T,DT,FX,FY,FZ", found=text,
                              what_to_do="give five numbers, e.g. 3,0.1,250,0,0") from None
        pushes.append(Push(start, duration, (x, y, z)))
    for name, value, high in (("noise", args.noise, 1.0), ("latency", args.latency, 1.0), ("loss", args.loss, 1.0)):
        if not 0 <= value <= high:
            raise BridgeError(f"--{name}", expected=f"from 0 to {high}", found=f"{value}",
                              what_to_do="give a value in that range")
    disturbance = Disturbance(
        noise_q_rad=args.noise, noise_dq_rad_s=50 * args.noise, noise_gyro_rad_s=20 * args.noise,
        latency_s=args.latency, loss=args.loss, pushes=tuple(pushes), seed=args.seed,
    )
    table = read_motor_table(Path(args.robot_file)) if args.robot_file else None
    return SimulatedRobot(args.plant, table=table, disturbance=disturbance, gantry=not args.no_gantry,
                          mode_machine=args.mode_machine, scene=load_scene(args.scene) if args.scene else None,
                          hangs=args.hang, truth=load_truth(args.truth) if args.truth else None,
                          fixture=FIXTURES[args.fixture] if args.fixture else None, is_fine=args.fine_physics)


def make_ailments(args: argparse.Namespace, robot: SimulatedRobot) -> Ailments | None:
    """What the options say will be wrong with it; None for nothing.

    Raises:
        BridgeError: an ailment that nobody knows.
    """
    from firmware_bridge.ailments import Ailments, parse_ailment

    given = [parse_ailment(text) for text in args.ailment]
    return Ailments(robot, given, args.seed) if given else None
