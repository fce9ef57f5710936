"""The floors and fences of the source tree: who may import what, and what may appear nowhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("runtime", "firmware_bridge", "calibration", "export")
ON_ROBOT = ("runtime/", "firmware_bridge/")

# Library: the files, or folders ending in "/", that may import it ("": everywhere). A third-party library
# needs a row to be used at all; the standard library is free, but for the few of its modules named here.
FENCES: dict[str, tuple[str, ...]] = {
    "numpy": ("",),
    "mcap": ("runtime/log_file.py",),
    "mujoco": ("firmware_bridge/simulated_robot.py", "firmware_bridge/plant.py", "firmware_bridge/picture.py",
               "firmware_bridge/kinematics.py", "firmware_bridge/banded.py", "firmware_bridge/point_masses.py",
               "firmware_bridge/posed.py", "firmware_bridge/scene.py",
               "firmware_bridge/hanging.py", "firmware_bridge/hook.py",
               "calibration/limb_torques.py"),
    "ray": ("export/motion/convert_command.py",),
    "distributed": ("export/motion/convert_command.py",),
    "mink": ("runtime/retarget_bench.py",),
    "daqp": ("runtime/retarget_bench.py",),
    "cyclonedds": ("firmware_bridge/libddsc.py", "firmware_bridge/stock_path.py"),
    "can": ("firmware_bridge/can_port.py", "firmware_bridge/stock_hosts.py"),
    "moteus": ("firmware_bridge/stock_hosts.py",),
    "dynamixel_sdk": ("firmware_bridge/stock_hosts.py",),
    "serial": ("firmware_bridge/serial_port.py", "firmware_bridge/serial_button.py"),
    "onnxruntime": ("runtime/model.py", "export/"),
    "tensorrt": ("runtime/engine.py",),
    "torch": ("export/",),
    "onnx": ("export/",),
    "zmq": ("runtime/stream_socket.py",),
    "msgpack": ("runtime/output_process.py",),
    "nacl": ("runtime/signature.py",),
    "tqdm": ("export/",),
    "httpx": ("export/imagine/http.py",),
    "viser": ("export/motion/viewer.py",),
    "av": ("export/motion/video.py",),
    "yaml": ("export/",),
    "smplx": ("export/",),
    "scipy": ("export/", "calibration/"),
    "matplotlib": ("export/", "calibration/"),
    "ctypes": ("firmware_bridge/dds.py", "firmware_bridge/dds_message.py", "firmware_bridge/libddsc.py",
               "runtime/realtime.py", "runtime/cuda.py"),
    "pickle": ("export/", "calibration/"),
    "shelve": ("export/", "calibration/"),
    "marshal": (),
    "exoactor": (),  # the command imports the floors, never the other way round
    "export": ("export/",),  # import-linter holds the floors too, but cannot see import_module("...")
    "calibration": ("calibration/",),
    "runtime": ("runtime/", "calibration/", "export/"),
    "firmware_bridge": ("",),
}

SAFE_COMMAND_MAKERS = {"SafeCommand": "runtime/enforce.py", "SafeHandCommand": "runtime/hand_enforce.py"}


def product_files(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file that ships, as (path from the root, its tree); an absent floor has none."""
    for pattern in ("exoactor.py", *(f"{floor}/**/*.py" for floor in FLOORS)):
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text("utf-8"), str(path))


def called_name(call: ast.Call) -> str:
    """The last name of what is called: `load` of `np.load(...)`; empty for anything computed."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, top-level name) of each absolute import, inside functions too, and of import_module("name")."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Call) and called_name(node) in ("import_module", "__import__"):
            names = [str(target.value) for target in node.args[:1] if isinstance(target, ast.Constant)]
        for name in names:
            yield node.lineno, name.partition(".")[0]


def fence_violations(root: Path) -> list[str]:
    """Imports of a fenced library outside its files, and of third-party libraries that have no row."""
    found = []
    for path, tree in product_files(root):
        for line, name in imported_names(tree):
            if name in FENCES:
                if not any(path.startswith(place) for place in FENCES[name]):
                    owners = " and ".join(FENCES[name]) or "nobody"
                    found.append(f"{path}:{line}: imports {name}, which belongs to {owners}")
            elif name not in sys.stdlib_module_names:
                found.append(f"{path}:{line}: imports {name}, which has no row in FENCES")
    return found


def safe_command_violations(root: Path) -> list[str]:
    """Places other than its maker that make a safe command, or import it under a name that hides it."""
    found = []
    for path, tree in product_files(root):
        for node in ast.walk(tree):
            for name, maker in SAFE_COMMAND_MAKERS.items():
                if path == maker:
                    continue
                if isinstance(node, ast.Call) and name in (
                    called_name(node),
                    getattr(getattr(node.func, "value", None), "id", ""),  # SafeCommand.anything(...)
                ):
                    found.append(f"{path}:{node.lineno}: makes a {name}; only {maker} may")
                if isinstance(node, ast.alias) and node.name == name and node.asname:
                    found.append(f"{path}:{node.lineno}: imports {name} under another name")
    return found


def code_loading_violations(root: Path) -> list[str]:
    """Calls on the robot side that may execute what they read: allow_pickle other than False, torch.load."""
    found = []
    for path, tree in product_files(root):
        if not path.startswith(ON_ROBOT):
            continue
        for node in ast.walk(tree):
            is_flag = isinstance(node, ast.keyword) and node.arg == "allow_pickle"
            if is_flag and ast.unparse(node.value) != "False":
                found.append(f"{path}:{node.value.lineno}: allow_pickle may only be False")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                found.append(f"{path}:{node.lineno}: torch.load")
    return found


def machine_path_violations(root: Path) -> list[str]:
    """Tracked text files that name a folder of somebody's machine."""
    folders = "|".join(("work", "root", "home"))
    pattern = re.compile(rf"(?<![\w.~)}}-])/({folders})/")
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=root, capture_output=True, check=True
    )
    found = []
    for name in filter(None, listing.stdout.decode().split("\0")):
        try:
            lines = enumerate((root / name).read_text("utf-8").splitlines(), 1)
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        found += [f"{name}:{number}: {line.strip()}" for number, line in lines if pattern.search(line)]
    return found


# ---- this tree


@pytest.mark.parametrize("check", [fence_violations, safe_command_violations, code_loading_violations])
def test_the_tree_keeps_its_fences(check):
    assert check(ROOT) == []


def test_no_tracked_file_names_a_machine_path():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert machine_path_violations(ROOT) == []


def test_imports_run_downwards_only():
    pytest.importorskip("importlinter", reason="missing dependency: import-linter")
    absent = [floor for floor in FLOORS if not (ROOT / floor).is_dir()]
    if absent:
        pytest.skip(f"floors not there yet: {', '.join(absent)}")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    lint = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize("package", ["runtime", "firmware_bridge"])
def test_package_imports_with_numpy_alone(package):
    if not (ROOT / package / "__init__.py").exists():
        pytest.skip(f"floor not there yet: {package}")
    code = f"""
import sys

class OnlyNumpy:
    allowed = sys.stdlib_module_names | {{"numpy", *{FLOORS!r}}}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"{package} reached for {{name}}", name=name)

sys.meta_path.insert(0, OnlyNumpy())
import {package}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


ROBOT_SIDE = (
    "runtime.run_command", "runtime.check_command", "runtime.supervisor", "runtime.gate_process",
    "runtime.policy_process", "runtime.telemetry", "runtime.report", "runtime.operator_process",
    "runtime.teleop_command", "export.bundle_command",
)


@pytest.mark.parametrize("module", ROBOT_SIDE)
def test_what_runs_on_a_robot_needs_no_simulator(module):
    """The extra `robot` brings neither mujoco nor any development tool."""
    code = f"""
import sys

class NoSimulator:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mujoco", "matplotlib", "scipy", "torch", "onnx", "smplx"):
            raise ModuleNotFoundError(f"{module} reached for {{name}}", name=name)

sys.meta_path.insert(0, NoSimulator())
import {module}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- the checks themselves, on planted trees


def plant(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(source, "utf-8")


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (fence_violations, "runtime/observation.py", "import mujoco"),
        (fence_violations, "runtime/deep/er.py", "def f():\n    from cyclonedds.domain import X"),
        (fence_violations, "runtime/model.py", "import onnx"),
        (fence_violations, "runtime/gate.py", "import ctypes.util"),
        (fence_violations, "runtime/clip.py", "import numpy, pickle"),
        (fence_violations, "runtime/clip.py", "import requests"),
        (fence_violations, "runtime/clip.py", "import importlib\nimportlib.import_module('export.x')"),
        (fence_violations, "firmware_bridge/dds.py", "from runtime import state"),
        (fence_violations, "calibration/imu.py", "import export"),
        (fence_violations, "export/bundle.py", "import exoactor"),
        (safe_command_violations, "runtime/gate.py", "c = SafeCommand(29)"),
        (safe_command_violations, "exoactor.py", "c = motor_bus.SafeCommand(29)"),
        (safe_command_violations, "calibration/imu.py", "c = SafeCommand.zeros(29)"),
        (safe_command_violations, "firmware_bridge/dds.py", "from x import SafeCommand as Harmless"),
        (safe_command_violations, "runtime/enforce.py", "c = SafeHandCommand(7)"),
        (safe_command_violations, "runtime/hand_enforce.py", "c = SafeCommand(7)"),
        (code_loading_violations, "runtime/clip.py", "np.load(p, allow_pickle=True)"),
        (code_loading_violations, "runtime/clip.py", "np.load(p, allow_pickle=flag)"),
        (code_loading_violations, "firmware_bridge/dds.py", "torch.load(p)"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, check, path, source):
    plant(tmp_path, path, source)
    (finding,) = check(tmp_path)
    assert finding.startswith(path + ":")


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (fence_violations, "runtime/model.py", "import onnxruntime"),
        (fence_violations, "export/engine.py", "import onnxruntime, torch, runtime.model"),
        (fence_violations, "runtime/state.py", "import json, numpy\nfrom . import x\nimport firmware_bridge"),
        (safe_command_violations, "runtime/enforce.py", "c = SafeCommand(29)"),
        (safe_command_violations, "runtime/hand_enforce.py", "c = SafeHandCommand(7)"),
        (safe_command_violations, "firmware_bridge/motor_bus.py", "class SafeCommand(MotorCommand): ..."),
        (safe_command_violations, "firmware_bridge/dds.py", "isinstance(c, SafeCommand)"),
        (code_loading_violations, "runtime/clip.py", "np.load(p, allow_pickle=False)"),
        (code_loading_violations, "export/controller.py", "torch.load(p, weights_only=True)"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, check, path, source):
    plant(tmp_path, path, source)
    assert check(tmp_path) == []


def test_a_planted_machine_path_is_found(tmp_path):
    plant(tmp_path, "docs/bad.md", "see " + "/".join(("", "home", "me", "x")))
    plant(tmp_path, "docs/good.md", "see https://example.org/home/x and ../home/x and src/home/x")
    plant(tmp_path, "docs/untracked.md", "see " + "/".join(("", "root", "x")))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "docs/bad.md", "docs/good.md"], cwd=tmp_path, check=True)
    (finding,) = machine_path_violations(tmp_path)
    assert finding.startswith("docs/bad.md:1:")


SKIPPING_TESTS = """
import pytest

def test_missing_library():
    pytest.skip("missing dependency: frobnicate")

def test_absent_data():
    pytest.skip("data not at hand: walk.npz")

@pytest.mark.skipif(True, reason="missing dependency: by mark")
def test_marked():
    raise AssertionError
"""


@pytest.mark.parametrize(
    ("ci", "source", "outcome"),
    [
        ("true", SKIPPING_TESTS, "1 failed, 1 skipped, 1 error"),  # a mark skips at set-up: pytest says error
        ("", SKIPPING_TESTS, "3 skipped"),
        ("true", "import pytest\npytest.importorskip('no_such_library')", "1 error"),
        ("", "import pytest\npytest.importorskip('no_such_library')", "1 skipped"),
    ],
)
def test_a_skip_for_a_missing_dependency_fails_in_ci_only(tmp_path, ci, source, outcome):
    plant(tmp_path, "conftest.py", (ROOT / "tests" / "conftest.py").read_text("utf-8"))
    plant(tmp_path, "test_planted.py", source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout, done.stdout + done.stderr


def test_whoever_watches_live_processes_runs_alone():
    """Clocks that are asserted must not share their cores with the rest of the suite."""
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        source = path.read_text("utf-8")
        if re.search(r"^from tests\.(live_run|wire_observer) import", source, re.MULTILINE):
            assert re.search(r"^pytestmark = .*pytest\.mark\.realtime", source, re.MULTILINE), path.name
