"""The stage that looks for what video models and estimators get wrong: report.json, and the same for people.

It refuses nothing by itself, so that its report stands in the run's folder whatever it says; the next stage refuses.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.evaluation.reference import length_ratio
from export.imagine.actions import Action, Plan
from export.imagine.body import Body, body_of
from export.imagine.estimation import motion_name, motions_in
from export.imagine.failure_modes import MODES
from export.imagine.failure_page import write_page
from export.imagine.film import EMBEDDED, SEEN, TRUTH
from export.imagine.measures import Known, join, judge, measure
from export.imagine.props import scaled
from export.imagine.signs import exchanged
from export.imagine.stage import Work
from export.imagine.words import load_plan, read_json, scene_of, write_json
from export.motion.findings import ADVICE, OK, REFUSED, Finding, accepted
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, load_human_motion

SCHEMA = "exoactor-imagine-report/1"
REPORT, PAGE = "report.json", "report.html"
SHORTEST_S = 0.2
LEAST_SEEN = 0.5
"""A joint whose confidence is below this was not seen."""


@dataclass(frozen=True)
class Judged:
    """One action: its motion, what is known besides, and what was found."""

    step: Action
    body: Body
    truth: Body | None
    findings: list[Finding]


class ReportStage:
    """What was seen of the paper's failures, action by action."""

    name, needs, file, version = "report", ("scene", "decompose", "film", "estimate"), REPORT, "1"
    provider = EMBEDDED

    def settings(self) -> Any:
        """The limits."""
        return {name: asdict(mode) for name, mode in MODES.items()}

    def check(self, folder: Path) -> None:
        """A report that can be read."""
        refusals(folder)

    def work(self, work: Work) -> None:
        """Measures, writes, and tells the manifest what is not as it should be."""
        plan, motions = load_plan(work.run.of("decompose")), motions_in(work.run.of("estimate"))
        refuse_other_count(len(motions), plan)
        for i, motion in enumerate(motions):
            if motion.duration_s < SHORTEST_S:
                raise Refused(f"motion {motion_name(i)}", expected=f"{SHORTEST_S:g} s or more of an action",
                              found=f"{motion.duration_s:.2f} s", what_to_do="estimate the whole video")
        film, estimate = work.run.of("film"), work.run.of("estimate")
        truths = [load_truth(film / TRUTH / motion_name(i)) for i in range(len(motions))]
        scene = scene_of(work.run.of("scene"))
        things = {} if scene is None else {thing.name: thing for thing in scaled(scene, 1 / length_ratio()).things}
        judged = []
        for i, (step, motion, truth) in enumerate(zip(plan.actions, motions, truths, strict=True)):
            body = body_of(motion)
            seen = seen_of(estimate / f"{i + 1:02d}.{SEEN}", film / TRUTH / f"{i + 1:02d}.{SEEN}")
            known = Known(None if truth is None else body_of(truth), things.get(step.object), seen)
            rows = measure(motion, body, step, known)
            if i + 1 < len(motions):
                rows.append(join(motion, motions[i + 1], body.fps))
            judged.append(Judged(step, body, known.truth, rows))
        report = report_of(plan, judged, whole(judged, motions, truths))
        work.notes += notes_of(report)
        write_json(work.out / REPORT, report)
        write_page(work.out / PAGE, report, [(row.body, row.truth) for row in judged])


def refuse_other_count(count: int, plan: Plan) -> None:
    """Refuses another number of motions than of actions."""
    if count != len(plan.actions):
        raise Refused("estimate", expected=f"{len(plan.actions)} motions, one an action", found=f"{count}",
                      what_to_do="put one there for each action, or begin again with --from film")


def load_truth(path: Path) -> HumanMotion | None:
    """What our own film keeps of what really happened; None for a video of anybody else's."""
    return load_human_motion(path) if path.is_file() else None


def seen_of(estimated: Path, true: Path) -> npt.NDArray[np.bool_] | None:
    """(T, 24) which joints were seen: by the estimator's own confidence, else by our film's truth, else not known.

    Raises:
        Refused: a file of another form.
    """
    path = next((path for path in (estimated, true) if path.is_file()), None)
    if path is None:
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Refused(f"{path}", expected="an array (T, 24) of 0 to 1", found=str(error)[:200],
                      what_to_do="leave it out, or write it anew") from error
    if values.ndim != 2 or values.shape[1] != 24 or not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise Refused(f"{path}", expected="an array (T, 24) of 0 to 1", found=f"{values.shape} {values.dtype}",
                      what_to_do="leave it out, or write it anew")
    return np.asarray(values >= LEAST_SEEN)


def whole(judged: list[Judged], motions: list[HumanMotion], truths: list[HumanMotion | None]) -> list[Finding]:
    """What is said of the run: the order of its actions, and the worst of every row."""
    swapped = exchanged([row.body for row in judged], [row.step for row in judged])
    detail = "; ".join(f"{judged[i].step.verb} (action {i + 1}) is seen in motion {j + 1}" for i, j in swapped)
    out = [judge("order", len({i for i, _ in swapped}), judged[0].body.fps, detail=detail)]
    for name in MODES:
        rows = [(i, row) for i, one in enumerate(judged) for row in one.findings if row.check == name]
        if rows:
            i, worst = max(rows, key=lambda pair: ((OK, ADVICE, REFUSED).index(pair[1].verdict), pair[1].value))
            out.append(Finding(name, worst.value, worst.limit, worst.verdict, None, worst.fps,
                               f"worst in action {i + 1} ({judged[i].step.verb})", MODES))
    return out


def report_of(plan: Plan, judged: list[Judged], run: list[Finding]) -> dict[str, Any]:
    """The report as JSON has it."""
    rows = [{"action": i + 1, "verb": row.step.verb, "object": row.step.object, "hand": row.step.hand,
             "motion": f"estimate/{motion_name(i)}", "duration_s": round((row.body.frames - 1) / row.body.fps, 3),
             "truth_known": row.truth is not None, "accepted": accepted(row.findings),
             "findings": [_json(finding) for finding in row.findings]} for i, row in enumerate(judged)]
    return {"schema": SCHEMA, "task": plan.task, "accepted": accepted(run), "whole": [_json(row) for row in run],
            "actions": rows}


def _json(finding: Finding) -> dict[str, Any]:
    row = finding.as_json() | {"failure": MODES[finding.check].failure, "source": finding.row.source}
    return {key: (round(value, 5) if math.isfinite(value) else None) if isinstance(value, float) else value
            for key, value in row.items() if key != "repair"}


def sentence(row: dict[str, Any]) -> str:
    """A finding for people."""
    when = "" if row["from_s"] is None else f" at {row['from_s']:.2f} to {row['to_s']:.2f} s"
    value = "no number" if row["value"] is None else f"{row['value']:.4g} {row['unit']}".rstrip()
    return (f"{row['failure']}: {row['check']} {value} (limit {row['limit']:.4g}){when}"
            + (f", {row['detail']}" if row["detail"] else ""))


def notes_of(report: dict[str, Any]) -> list[str]:
    """What is not as it should be, a sentence each, for the manifest."""
    rows = [(f"action {one['action']} ({one['verb']}): ", row) for one in report["actions"] for row in one["findings"]]
    rows += [("", row) for row in report["whole"] if row["check"] == "order"]
    return [f"{where}{row['verdict']}: {sentence(row)}" for where, row in rows if row["verdict"] != OK]


def refusals(folder: Path) -> list[str]:
    """What a report refuses, a line each with the action, what was measured, and what to do; refuses no report."""
    report = read_json(folder / REPORT)
    try:
        if report["schema"] != SCHEMA:
            raise KeyError(SCHEMA)
        rows = [(f"action {one['action']} ({one['verb']})", row) for one in report["actions"]
                for row in one["findings"]]
        rows += [("the whole", row) for row in report["whole"] if row["check"] == "order"]
        return [f"{where}: {sentence(row)}: {row['what_to_do']}" for where, row in rows if row["verdict"] == REFUSED]
    except (KeyError, TypeError) as error:
        raise Refused(f"{folder / REPORT}", expected=f"a report of form {SCHEMA}", found=f"{error}"[:200],
                      what_to_do="do the stage anew with --from report") from error


def refuse_reported(folder: Path) -> None:
    """Refuses what the report says the robot should not do."""
    lines = refusals(folder)
    if lines:
        raise Refused("motions", expected="no refused row in the report", found="\n".join(lines),
                      what_to_do=f"see {folder / PAGE}; film anew with --from film, or put better motions there with "
                                 "--replace estimate=PATH")

