"""The documentation says what the code does: tables, keys, examples, links and command lines are checked against it."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from export.command import JOBS
from firmware_bridge.bridge_command import JOBS as BRIDGE_JOBS
from firmware_bridge.drives.maintenance import Maintenance
from firmware_bridge.drives.protocols import PROTOCOLS, make_maintenance
from firmware_bridge.wiring import SCHEMA as WIRING_SCHEMA
from runtime.channels import CHANNELS
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.fault_table import table_markdown
from runtime.limits import Limits
from runtime.manifest_reader import SCHEMA, load_manifest
from runtime.robot import Joint, robot_names
from runtime.state import RobotState
from runtime.terms import TERMS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *(path for path in [ROOT / "README.md"] if path.is_file())]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def between(text: str, marker: str) -> str:
    """What stands between `<!-- marker -->` and `<!-- /marker -->`."""
    found = re.search(rf"<!-- {marker} -->\n(.*?)\n<!-- /{marker} -->", text, re.DOTALL)
    assert found, f"no markers <!-- {marker} -->"
    return found.group(1)


def marked_blocks(text: str, marker: str) -> list[tuple[str, str]]:
    """The fenced blocks that follow `<!-- marker ... -->`: (rest of the marker, content)."""
    pattern = rf"<!-- {marker}([^>]*) -->\n```\w*\n(.*?)^```$"
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


def terms_table() -> str:
    lines = ["| term | meaning (size) | settings |", "|---|---|---|"]
    for name in sorted(TERMS):
        settings = ", ".join(f"`{key}`" for key in TERMS[name].settings) or "-"
        lines.append(f"| `{name}` | {TERMS[name].meaning} | {settings} |")
    return "\n".join(lines)


def test_fault_table_is_the_code_s_own():
    assert between(page("faults"), "faults") == table_markdown()


def test_ailment_table_is_the_code_s_own():
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.ailments import AILMENTS

    lines = ["| ailment | what is wrong |", "|---|---|", *(f"| `{name}` | {AILMENTS[name][1]} |" for name in AILMENTS)]
    assert between(page("campaign"), "ailments") == "\n".join(lines)


def test_kinds_of_the_process_campaign_are_on_its_page():
    from runtime.campaign.process_kinds import KINDS

    assert [kind.name for kind in KINDS if f"`{kind.name}`" not in page("campaign")] == []


def test_table_of_serial_protocols_says_what_each_can():
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| \w+ \| (\S+) \| (yes|no) \| (yes|none known) \|$", page("serial"),
                      re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(PROTOCOLS), "docs/serial.md, the table of protocols"
    for name, baud, can_set_id, has_watchdog in rows:
        upkeep = make_maintenance(name)
        assert baud == (str(upkeep.baud) if PROTOCOLS[name].is_serial else "-"), name
        assert (can_set_id == "yes") == (type(upkeep).set_id is not Maintenance.set_id), name
        assert (has_watchdog == "yes") == (type(upkeep).set_watchdog is not Maintenance.set_watchdog), name


def test_the_wiring_file_of_the_page_is_one(tmp_path):
    from firmware_bridge.wiring import read_wiring

    (example,) = re.findall(r"```json\n(.*?)```", page("serial"), re.DOTALL)
    joints = ["left_hip_pitch_joint", "left_knee_joint", "right_hip_pitch_joint"]
    (tmp_path / "my_robot.json").write_text(json.dumps(
        {"name": "mine", "joint_columns": ["name", "motor", "effort_n_m"],
         "joints": [[name, at, 1.0] for at, name in enumerate(joints)]}))
    (tmp_path / "wiring.json").write_text(example)
    wiring = read_wiring(tmp_path / "wiring.json")
    assert len(wiring.buses) == 2 and wiring.imu is not None and wiring.estop is not None
    assert WIRING_SCHEMA in page("serial")


def test_limits_table_names_every_limit_with_its_default():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in between(page("safety"), "limits").splitlines()]
    documented = {row[0].strip("`"): float(row[1]) for row in rows[2:]}
    defaults = {field.name: float(field.default) for field in fields(Limits)}
    assert documented == pytest.approx(defaults, rel=1e-5)


def test_term_table_is_the_registry():
    assert between(page("controllers"), "terms") == terms_table()


def channels_table() -> str:
    lines = ["| channel | width | meaning |", "|---|---|---|"]
    for name, channel in CHANNELS.items():
        note = (", w first" if channel.rotations else "") + ("" if channel.needed else "; optional")
        lines.append(f"| `{name}` | {channel.width} | {channel.meaning}{note} |")
    return "\n".join(lines)


def test_channel_table_is_the_code_s_own():
    assert between(page("clips"), "channels") == channels_table()


def test_formats_table_is_the_modules_own():
    from export.motion.formats import FORMATS, format_module

    rows = (f"| `{name}` | {format_module(name).SUMMARY} |" for name in FORMATS)
    lines = ["| format | told by |", "|---|---|", *rows]
    assert between(page("motions"), "formats") == "\n".join(lines)


def test_every_term_setting_is_documented():
    text = page("controllers")
    for term in TERMS.values():
        for key in term.settings:
            assert f"`terms[].{key}`" in text


# How the page names a key, and where in a manifest an object that takes it stands.
OBJECTS: dict[str, tuple[str | int, ...]] = {
    "": (),
    "gains.": ("gains",),
    "held.<joint>.": ("held", "waist_yaw_joint"),
    "model.": ("model",),
    "outputs.": ("outputs",),
    "recurrent[].": ("recurrent", 0),
    "action.": ("action",),
    "phase.": ("phase",),
    "command.": ("command",),
    "reference.": ("reference",),
    "stages[].": ("stages", 0),
    "inputs[].": ("inputs", 0),
    "blocks[].": ("inputs", 0, "blocks", 0),
    "terms[].": ("inputs", 0, "blocks", 0, "terms", 0),
    "history.": ("inputs", 0, "blocks", 0, "terms", 0, "history"),
}


def example(index: int) -> dict[str, Any]:
    return json.loads(marked_blocks(page("controllers"), "manifest")[index][1])


def keys_the_code_takes(path: tuple[str | int, ...], folder: Path) -> list[str]:
    """The keys of one object, as the refusal of an unknown one lists them."""
    data = example(1)
    data.setdefault("model", {})
    data.setdefault("reference", {})
    data["stages"] = [{"name": "first", "inputs": [{"blocks": [{"terms": [{"term": "base_ang_vel"}]}]}]}]
    data["inputs"][0]["blocks"][0]["terms"][0]["history"] = {"length": 2}
    place: Any = data
    for step in path:
        place = place[step]
    place["no_such_key"] = 0
    file = folder / "controller.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(Refused) as refused:
        load_manifest(str(file))
    assert refused.value.expected.startswith("keys among "), str(refused.value)
    return refused.value.expected.removeprefix("keys among ").split(", ")


@pytest.mark.parametrize("prefix", OBJECTS)
def test_every_manifest_key_is_documented(prefix, tmp_path):
    text = page("controllers")
    missing = [key for key in keys_the_code_takes(OBJECTS[prefix], tmp_path) if f"`{prefix}{key}`" not in text]
    assert not missing


@pytest.mark.parametrize("prefix", OBJECTS)
def test_no_documented_manifest_key_is_unknown_to_the_code(prefix, tmp_path):
    known = set(keys_the_code_takes(OBJECTS[prefix], tmp_path))
    if prefix == "terms[].":
        known |= {key for term in TERMS.values() for key in term.settings}
    rows = "\n".join(line.split("|")[1] for line in page("controllers").splitlines() if line.startswith("| `"))
    documented = {key for key in re.findall(rf"`{re.escape(prefix)}(\w+)`", rows) if prefix}
    assert documented <= known


def test_schema_of_the_page_is_the_code_s():
    assert f"`{SCHEMA}`" in page("controllers")


class NoNetwork:
    """A network of the sizes a page states; its outputs are their names' lengths, so that copies can be seen."""

    def __init__(self, sizes: dict[str, dict[str, int]]) -> None:
        self.inputs = {name: np.zeros((1, size), np.float32) for name, size in sizes["inputs"].items()}
        self.outputs = {name: np.zeros((1, size), np.float32) for name, size in sizes["outputs"].items()}

    def run(self) -> None:
        for name, values in self.outputs.items():
            values[:] = len(name)


def sizes_of(marker: str) -> dict[str, dict[str, int]]:
    """`inputs=a:1,b:2 outputs=c:3` as dictionaries."""
    out = {}
    for word in marker.split():
        side, _, pairs = word.partition("=")
        out[side] = {name: int(size) for name, _, size in (pair.rpartition(":") for pair in pairs.split(","))}
    return out


EXAMPLES = marked_blocks(page("controllers"), "manifest") + marked_blocks(page("families"), "manifest")


@pytest.mark.parametrize(("marker", "text"), EXAMPLES, ids=[json.loads(text)["name"] for _, text in EXAMPLES])
def test_example_manifest_loads_and_fits_the_network_it_is_for(marker, text, tmp_path):
    file = tmp_path / "controller.json"
    file.write_text(text, encoding="utf-8")
    manifest = load_manifest(str(tmp_path))
    controller = Controller(manifest, NoNetwork(sizes_of(marker)))
    controller.tick(RobotState(manifest.robot.motors))
    for name_in, name_out in manifest.recurrent:
        assert (controller.model.inputs[name_in] == len(name_out)).all()
    held = [joint.motor for joint in manifest.robot.joints if joint.name in manifest.held]
    assert sorted([*held, *manifest.motor_index]) == list(range(manifest.robot.motors))
    if manifest.embedded is not None:
        row = [manifest.embedded.joint_pos, manifest.embedded.joint_vel, manifest.embedded.quat]
        assert {*row, manifest.embedded.position} <= {*controller.model.outputs, None}


def test_the_pages_have_an_example_of_each_kind():
    kinds = [(json.loads(text)["kind"], "time_step:" in marker) for marker, text in EXAMPLES]
    velocity, tracker = ("velocity", False), ("tracker", False)
    assert kinds == [velocity, velocity, tracker, ("tracker", True), ("tracker", True), velocity, velocity]


def test_every_shipped_robot_is_on_its_page():
    rows = [line for line in page("robots").splitlines() if line.startswith("| `")]
    assert not [name for name in robot_names() if not any(row.startswith(f"| `{name}` |") for row in rows)]


def test_the_columns_of_a_robot_s_table_are_on_its_page():
    text = page("robots")
    assert [column for column in Joint.__dataclass_fields__ if f"`{column}`" not in text] == []


def test_gains_of_the_isaac_example_reach_their_joints(tmp_path):
    file = tmp_path / "controller.json"
    file.write_text(EXAMPLES[0][1], encoding="utf-8")
    manifest = load_manifest(str(file))
    kp = dict(zip(manifest.order.names, manifest.kp, strict=True))
    assert kp["left_knee_joint"] == kp["right_knee_joint"] == 150
    assert kp["waist_yaw_joint"] == 200
    assert kp["right_hip_pitch_joint"] == 100


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_json_examples_parse(path):
    for language, text in FENCE.findall(path.read_text(encoding="utf-8")):
        if language == "json":
            json.loads(text)


def test_clip_example_runs(tmp_path, monkeypatch, capsys):
    blocks = marked_blocks(page("clips"), "run")
    assert len(blocks) == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[0][1], "docs/clips.md", "exec"), {})
    assert capsys.readouterr().out == "3.98 s\n"
    assert (tmp_path / "sway.npz").is_file()


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_relative_links_and_images_resolve(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def command_lines(path: Path) -> list[str]:
    """The `exoactor ...` lines of fenced blocks and of inline code, continuations joined; those with `...` left out."""
    text = path.read_text(encoding="utf-8")
    inline = re.findall(r"`(exoactor \w+ --[^`\n]*)`", FENCE.sub("", text))
    fenced = [line for language, body in FENCE.findall(text) if language not in ("json", "python")
              for line in body.replace("\\\n", " ").splitlines()]
    found = []
    for line in [*fenced, *inline]:
        stripped = re.sub(r"^(\$ |\.venv/bin/)", "", line.strip())
        for part in re.split(r"\s+&\s+|\s*&&\s*|\s*;\s*", stripped.split(" #")[0].rstrip("&").strip()):
            if part.startswith("exoactor ") and "..." not in part:
                found.append(part)
    return found


class Strict(argparse.ArgumentParser):
    """Says what is wrong instead of ending the process."""

    def error(self, message: str) -> Any:
        raise AssertionError(message)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_use_options_that_exist(path):
    for line in command_lines(path):
        name, *arguments = shlex.split(line)[1:]
        if name.startswith("--"):
            assert name in ("--help", "--version"), line
            continue
        assert name in exoactor.COMMANDS, line
        module = exoactor.COMMANDS[name][0]
        jobs = {"export": JOBS, "bridge": BRIDGE_JOBS}.get(name, {})
        if arguments and arguments[0] in jobs:
            name, module, arguments = f"{name} {arguments[0]}", jobs[arguments[0]][0], arguments[1:]
        if name == "sim":
            pytest.importorskip("mujoco", reason="missing dependency: mujoco")
        parser = Strict(prog=f"exoactor {name}")
        importlib.import_module(module).add_arguments(parser)
        try:
            parser.parse_args(arguments)
        except AssertionError as error:
            pytest.fail(f"{path.name}: {line}: {error}")
