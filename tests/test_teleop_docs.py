"""docs/teleop.md: its tables and its example are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.estop_sources import KINDS
from runtime.keyboard import SPEEDS
from runtime.operator_message import FORMS, TO_ROBOT, VERSION, Kind, Pose, Reject
from runtime.operator_state import REFUSAL_WORDS, Refusal
from runtime.teleop_sources import GESTURES

PAGE = (Path(__file__).resolve().parents[1] / "docs/teleop.md").read_text(encoding="utf-8")


def between(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n(.*?)\n<!-- /{marker} -->", PAGE, re.DOTALL)
    assert found, f"no markers <!-- {marker} -->"
    return found.group(1)


def table(*rows: tuple[object, ...]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def test_the_stop_sources():
    rows = [(f"`{kind}{form}`", pressed, silent) for kind, (form, pressed, silent) in KINDS.items()]
    assert between("estops") == table(("`--estop`", "pressed", "silent"), *rows)


def test_the_keys():
    rows = [(f"`{chr(key)}`", *speeds) for key, speeds in SPEEDS.items()]
    assert between("keys") == table(("key", "vx m/s", "vy m/s", "yaw rad/s"), *rows)


def test_the_gestures():
    rows = [line.strip("| ").split(" | ") for line in between("teleops").splitlines()[2:]]
    assert {row[0].strip("`"): (row[3], row[4]) for row in rows} == GESTURES


def test_the_version():
    assert f"| version | u8 | {VERSION} |" in PAGE


def test_the_refusals():
    assert between("refusals").splitlines() == [f"- {REFUSAL_WORDS[refusal]}" for refusal in Refusal if refusal]


def test_the_kinds():
    rows = []
    for kind in Kind:
        layout, fields = ("by robot", Pose._fields) if kind is Kind.POSE else (
            f"`{FORMS[kind][0].format}`", FORMS[kind][1]._fields)
        rows.append((f"`{kind.name}`", int(kind), "robot" if kind in TO_ROBOT else "operator",
                     layout if fields else "empty", ", ".join(fields) or "-"))
    assert between("kinds") == table(("kind", "number", "to", "body", "fields"), *rows)


def test_the_rejects():
    rows = [(f"`{name}`", count.value, meaning) for name, count, meaning in (reject.value for reject in Reject)]
    assert between("rejects") == table(("reason", "counter", "meaning"), *rows)


def test_the_example_compiles_and_finds_what_it_imports():
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    space: dict[str, object] = {}
    exec(compile(example, "docs/teleop.md", "exec"), space)
    assert callable(space["stream"])
