"""The command `exoactor`: one table of sub-commands, each imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

__version__ = "0.1.0"

# name: (module offering `add_arguments(parser)` and `run(args) -> int`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("runtime.run_command", "run a controller on a clip, in simulation or on the robot"),
    "sim": ("firmware_bridge.sim_command", "stand in for the robot: a simulated G1 on the robot's own wire"),
    "check": ("runtime.check_command", "say whether controller, clip and machine fit; nothing moves"),
    "teleop": ("runtime.teleop_command", "command a robot, or stop it, from another computer"),
    "damp": ("runtime.damp_command", "take the stiffness away from a robot that nobody commands any more"),
    "bridge": ("firmware_bridge.bridge_command", "motors on serial ports: find them, look after them, emulate them"),
    "export": ("export.command", "make what a robot loads: bundles, engines, distilled controllers, estimators"),
    "motion": ("export.motion.command", "bring a motion of any source to what a controller tracks; check it, show it"),
    "calibrate": ("calibration.command", "find out what a robot's encoders and IMU are off by, and keep it in a file"),
    "chain": ("runtime.chain_command", "write chains of actions, also while a run follows them; look at their seams"),
    "imagine": ("export.imagine.command", "from a task in words to a chain of motions, stage by stage"),
    "evaluate": ("export.evaluation.command", "have a suite of tasks done in the plant, from human motion to robot"),
    "campaign": ("runtime.campaign_command", "inject every fault of the table and measure the answers"),
    "bench": ("runtime.bench_command", "measure the loop's cost and jitter against the stock path"),
}

DONE, FAULT, REFUSED, INTERRUPTED = 0, 1, 2, 130

# The error families that mean "refused"; looked up among the loaded modules, so reporting imports nothing.
REFUSAL_FAMILIES = (("firmware_bridge.errors", "BridgeError"), ("runtime.errors", "Refused"))

# Third-party library: the extra of this package that brings it.
EXTRA_OF_LIBRARY = {
    "cyclonedds": "robot",
    "distributed": "cluster",
    "httpx": "imagine",
    "mcap": "robot",
    "mujoco": "sim",
    "nacl": "robot",
    "onnx": "export",
    "onnxruntime": "robot",
    "ray": "cluster",
    "serial": "robot",
    "smplx": "export",
    "tensorrt": "gpu",
    "torch": "export",
    "tqdm": "export",
    "yaml": "export",
    "zmq": "stream",
}

EXIT_CODES = "exit codes: 0 done, 1 ended in a fault, 2 refused (bad input, preflight), 130 interrupted"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and gives its exit code; `--help` and usage errors leave by SystemExit (0, 2)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return _run_command(arguments[0], arguments[1:])
    return _run_front(arguments)


def _run_command(name: str, arguments: list[str]) -> int:
    """Imports the one module that was asked for and hands it its arguments."""
    module_name, summary = COMMANDS[name]
    as_json = "--json" in arguments
    try:
        command = importlib.import_module(module_name)
        parser = argparse.ArgumentParser(
            prog=f"exoactor {name}",
            description=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(parser)
        return int(command.run(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRA_OF_LIBRARY:
            raise
        what_to_do = f"pip install 'exoactor[{EXTRA_OF_LIBRARY[library]}]'"
        facts: dict[str, Any] = {
            "what": f"Python package {library}",
            "expected": "installed",
            "found": "nothing of that name",
            "what_to_do": what_to_do,
        }
        _report_refusal(f"`exoactor {name}` needs the Python package {library}: {what_to_do}", facts, as_json)
        return REFUSED
    except _loaded_refusal_families() as error:
        facts = {field: getattr(error, field, None) for field in ("what", "expected", "found", "what_to_do")}
        _report_refusal(str(error), facts, as_json)
        return REFUSED


def _loaded_refusal_families() -> tuple[type[Exception], ...]:
    """The refusal classes whose modules are loaded; one that is not loaded cannot have been raised."""
    loaded = ((sys.modules.get(module), name) for module, name in REFUSAL_FAMILIES)
    return tuple(getattr(module, name) for module, name in loaded if hasattr(module, name))


def _report_refusal(message: str, facts: dict[str, Any], as_json: bool) -> None:
    """Prints a refusal: the message on stderr for a person, or its facts as JSON on stdout for a program."""
    if as_json:
        print(json.dumps({"outcome": "refused", **facts}, default=str))
    else:
        print(f"refused: {message}", file=sys.stderr)


def _run_front(arguments: list[str]) -> int:
    """Handles everything that is not a known command: help, version, a mistyped name."""
    width = max(len(name) for name in COMMANDS)
    table = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="exoactor",
        usage="exoactor [--help] [--version] COMMAND ...",
        description="On-robot runtime for whole-body controllers on the Unitree G1.",
        epilog=f"commands:\n{table}\n\n`exoactor COMMAND --help` shows one command's options.\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"exoactor {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    parsed, _ = parser.parse_known_args(arguments)
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return REFUSED
    _refuse_command(parser, parsed.command)


def _refuse_command(parser: argparse.ArgumentParser, name: str) -> NoReturn:
    """Ends with a usage error that names the nearest commands."""
    import difflib

    if name in COMMANDS:
        parser.error(f"options go after the command: exoactor {name} ...")
    near = difflib.get_close_matches(name, COMMANDS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(COMMANDS)}"
    parser.error(f"unknown command {name!r}; {hint}")


if __name__ == "__main__":
    sys.exit(main())
