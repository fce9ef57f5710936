"""The command `exoactor`: quick to start, one table, refusals a person or a program can read."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

import exoactor
from firmware_bridge.errors import BridgeError
from runtime.errors import Refused

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("numpy", "mujoco", "onnxruntime", "cyclonedds", "serial", "mcap", "runtime", "firmware_bridge")


@pytest.fixture
def command(monkeypatch):
    """Installs a command `fake` whose `run` is the given function; gives back a way to call it."""

    def install(run):
        module = types.ModuleType("fake_command")
        module.add_arguments = lambda parser: parser.add_argument("--json", action="store_true")
        module.run = run
        monkeypatch.setitem(sys.modules, "fake_command", module)
        monkeypatch.setitem(exoactor.COMMANDS, "fake", ("fake_command", "does as it is told"))
        return lambda *arguments: exoactor.main(["fake", *arguments])

    return install


FACTS = {"expected": "29", "found": "27", "what_to_do": "is this a 29-DoF G1?"}


@pytest.fixture(params=[BridgeError, Refused])
def refusal(request):
    return request.param("motor count", **FACTS)


def raising(error):
    def run(args):
        raise error

    return run


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `exoactor` ran with these arguments."""
    code = (
        "import sys, exoactor\n"
        "try:\n    exoactor.main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        exoactor.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for name, (_, summary) in exoactor.COMMANDS.items():
        assert f"  {name} " in shown
        assert summary in shown


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["no-such-command"]])
def test_the_front_imports_nothing_heavy(arguments):
    assert loaded_by(*arguments).isdisjoint(HEAVY)


def test_every_command_names_a_module_of_a_floor():
    for module, summary in exoactor.COMMANDS.values():
        assert module.partition(".")[0] in ("runtime", "firmware_bridge", "calibration", "export")
        assert summary and not summary.endswith(".")


def test_version_is_the_packages_version(capsys):
    with pytest.raises(SystemExit) as end:
        exoactor.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"exoactor {exoactor.__version__}\n"


def test_no_command_shows_the_help_and_is_refused(capsys):
    assert exoactor.main([]) == exoactor.REFUSED
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["chekc", "--json"], "did you mean check?"),
        (["xyzzy"], "there are: run, sim, check"),
        (["--json", "run"], "options go after the command: exoactor run"),
    ],
)
def test_an_unusable_command_line_is_refused_with_a_hint(capsys, arguments, hint):
    with pytest.raises(SystemExit) as end:
        exoactor.main(arguments)
    assert end.value.code == exoactor.REFUSED
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("code", [exoactor.DONE, exoactor.FAULT, exoactor.REFUSED])
def test_a_commands_result_is_the_exit_code(command, code):
    assert command(lambda args: code)() == code


def test_an_unknown_option_is_refused(command, capsys):
    with pytest.raises(SystemExit) as end:
        command(lambda args: 0)("--no-such-option")
    assert end.value.code == exoactor.REFUSED
    assert "usage: exoactor fake" in capsys.readouterr().err


def test_a_refusal_is_one_line_on_stderr(command, refusal, capsys):
    assert command(raising(refusal))() == exoactor.REFUSED
    shown = capsys.readouterr()
    assert shown.err == f"refused: {refusal}\n"
    assert shown.out == ""


def test_a_refusal_is_one_object_on_stdout_with_json(command, refusal, capsys):
    assert command(raising(refusal))("--json") == exoactor.REFUSED
    assert json.loads(capsys.readouterr().out) == {
        "outcome": "refused",
        "what": "motor count",
        **FACTS,
    }


def test_a_missing_library_is_refused_with_its_extra(command, capsys):
    missing = ModuleNotFoundError("No module named 'mujoco'", name="mujoco.viewer")
    assert command(raising(missing))("--json") == exoactor.REFUSED
    assert json.loads(capsys.readouterr().out)["what_to_do"] == "pip install 'exoactor[sim]'"


@pytest.mark.parametrize("error", [ZeroDivisionError(), ModuleNotFoundError("x", name="runtime.no_such")])
def test_a_bug_is_not_dressed_up_as_a_refusal(command, error):
    with pytest.raises(type(error)):
        command(raising(error))()


def test_an_interrupt_ends_with_130(command):
    assert command(raising(KeyboardInterrupt()))() == exoactor.INTERRUPTED
