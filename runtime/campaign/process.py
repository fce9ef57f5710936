"""`exoactor campaign --process`: real processes of real runs, harmed while an independent witness records the wire."""

from __future__ import annotations

import argparse
import contextlib
import html
import math
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.campaign.live_run import Disturbed, LiveRun, await_
from runtime.campaign.process_kinds import KINDS, Kind, Setup, Unavailable
from runtime.campaign.report import SCHEMA
from runtime.campaign.witness import WireObserver
from runtime.errors import Refused
from runtime.pilot import Phase
from runtime.report_page import STYLE

MOTION = ("--clip", "walk", "--duration", "4")
STRIKE_AFTER_S = 0.3
QUIET_S = 2.5
"""How long nothing may happen to the robot after a harm that must not reach it: less than is left of the motion."""
LEAST_DAMPING = 1000
FALL_M = 0.4
"""A base below this height has fallen."""
SILENCE_MS = 100.0
"""A writer that is silent for longer has left the robot to itself: the drives' own limit would be of this size."""
LONGEST_S = 60.0


@dataclass
class Trial:
    """One run, struck once.

    Attributes:
        delay_ms: to the first damping frame, None for none.
        damping, stiff_again: frames; gap_ms: the longest silence between damping frames.
        silence_ms: the longest silence of the command topic after the strike, the damping included.
        fell: below the fall height before damping.
        left: processes that outlived the run.
        why: what is wrong; "" when ok.
    """

    delay_ms: float | None
    damping: int
    stiff_again: int
    gap_ms: float
    silence_ms: float
    fell: bool
    left: int
    code: int
    why: str = ""


def judge(trial: Trial, kind: Kind) -> str:
    """What is wrong with the answer to a harm; "" for nothing."""
    if trial.fell:
        return "fell before it was damped"
    if trial.delay_ms is None:
        return "never damped"
    if kind.limit_ms is not None and trial.delay_ms > kind.limit_ms:
        return f"damped after {trial.delay_ms:.1f} ms, limit {kind.limit_ms:.0f} ms"
    if kind.limit_ms is None and trial.delay_ms < QUIET_S * 1000:
        return f"damped after {trial.delay_ms:.0f} ms, though nothing was wrong with the robot"
    if kind.limit_ms is None and trial.silence_ms > SILENCE_MS:
        return f"no command for {trial.silence_ms:.0f} ms"
    if trial.damping < LEAST_DAMPING:
        return f"{trial.damping} damping frames, at least {LEAST_DAMPING} are sent"
    if trial.stiff_again:
        return f"{trial.stiff_again} stiff frames after damping"
    return f"{trial.left} processes left behind" if trial.left else ""


def strike_once(kind: Kind, folder: Path, domain: int, phase: float) -> tuple[Trial, str]:
    """One run; what the witness saw, and the kind's note.

    Args:
        phase: 0 to 1, where in the policy's period the strike falls.

    Raises:
        Unavailable: not on this machine.
        Disturbed: the run was not healthy before it was struck.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        setup: Setup = kind.setup(folder, domain)
        stack.callback(setup.close)
        namespace = setup.prefix if setup.interface else []
        wire = stack.enter_context(WireObserver(domain, folder / "frames.npy", setup.interface, namespace))
        words = [*MOTION, *setup.words, "--domain", str(domain)]
        words += ["--interface", setup.interface] if setup.interface else []
        run = stack.enter_context(LiveRun(setup.out, *words, environment=setup.environment, prefix=setup.prefix))
        run.await_tracking(Phase.PLAY)
        time.sleep(STRIKE_AFTER_S + 0.02 * phase)
        moment = setup.strike(run)
        with contextlib.suppress(Disturbed):
            run.finish(LONGEST_S)
        if kind.name == "telemetry-sigstop" and run.living():
            run.signal("telemetry", signal.SIGCONT)
        with contextlib.suppress(Disturbed):
            await_(lambda: not run.living(), 10.0, "the last process")
        wire.stop()
        delay = wire.delay_ms(moment)
        damped_ns = moment + round(delay * 1e6) if math.isfinite(delay) else time.monotonic_ns()
        trial = Trial(
            delay if math.isfinite(delay) else None, len(wire.damping_after(moment)), wire.stiff_after_damping(moment),
            wire.longest_gap_ms(moment), wire.longest_silence_ms(moment), wire.lowest_m(damped_ns) < FALL_M,
            len(run.living()), run.code if run.code is not None else -1,
        )
    trial.why = judge(trial, kind) or setup.unheard(run)
    if trial.why and (said := [*run.flags, *run.report.get("errors", [])]):
        trial.why += f" ({'; '.join(said)})"
    return trial, setup.note


def run_process_campaign(args: argparse.Namespace) -> dict[str, Any]:
    """Every kind, so many times; shown as it goes."""
    names = [kind.name for kind in KINDS]
    wanted = names if args.only is None else args.only.split(",")
    if unknown := set(wanted) - set(names):
        raise Refused("--only", expected=f"kinds among {', '.join(names)}", found=", ".join(sorted(unknown)),
                      what_to_do="choose among them")
    start = time.monotonic()
    kinds = []
    with tempfile.TemporaryDirectory(prefix="exoactor-campaign-") as folder:
        for kind in KINDS:
            if kind.name in wanted:
                kinds.append(_repeat(kind, Path(folder) / kind.name, args.repeats, args.domain))
                print(line(kinds[-1]), flush=True)
    report = make_report(kinds, time.monotonic() - start)
    if args.html is not None:
        write_page(args.html, report)
    return report


def _repeat(kind: Kind, folder: Path, repeats: int, domain: int) -> dict[str, Any]:
    trials: list[Trial] = []
    disturbed: list[str] = []
    note = skipped = ""
    i = 0
    while len(trials) < repeats:
        i += 1
        try:
            trial, note = strike_once(kind, folder / str(i), domain + i % 2, i * 0.618034 % 1)
        except Unavailable as error:
            skipped = str(error)
            break
        except Disturbed as error:
            disturbed.append(str(error)[:300])
            print(f"  {kind.name} disturbed: {disturbed[-1]}", file=sys.stderr, flush=True)
            if len(disturbed) > max(2, repeats // 5):
                break
            continue
        trials.append(trial)
        print(f"  {kind.name} {len(trials)}/{repeats}: {trial.why or 'ok'}", file=sys.stderr, flush=True)
    return summarise(kind, trials, disturbed, skipped, note, repeats)


def summarise(
    kind: Kind, trials: list[Trial], disturbed: list[str], skipped: str, note: str, repeats: int
) -> dict[str, Any]:
    """One kind's figures. Trials that could not be made, other than skipped ones, count as wrong."""
    delays = [trial.delay_ms for trial in trials if trial.delay_ms is not None]
    wrong = [trial for trial in trials if trial.why]
    lacking = 0 if skipped else repeats - len(trials)
    return {
        "kind": kind.name, "rows": list(kind.rows), "repeats": len(trials), "wrong": len(wrong) + lacking,
        "skipped": skipped, "note": note, "limit_s": None if kind.limit_ms is None else kind.limit_ms / 1000,
        "expected": "DAMP" if kind.limit_ms is not None else "nothing: the run goes on",
        "worst_s": max(delays) / 1000 if delays else None,
        "median_s": statistics.median(delays) / 1000 if delays else None,
        "missed": sum(trial.delay_ms is None for trial in trials), "falls": sum(trial.fell for trial in trials),
        "fewest_damping_frames": min((trial.damping for trial in trials), default=None),
        "longest_silence_ms": max((trial.silence_ms for trial in trials), default=None),
        "disturbed": disturbed, "why": wrong[0].why if wrong else "could not be tried" if lacking else "",
        "each": [asdict(trial) for trial in trials],
    }


def make_report(kinds: list[dict[str, Any]], took_s: float) -> dict[str, Any]:
    """The whole of it."""
    runs, wrong = sum(kind["repeats"] for kind in kinds), sum(kind["wrong"] for kind in kinds)
    skipped = [kind["kind"] for kind in kinds if kind["skipped"]]
    return {
        "schema": SCHEMA, "runs": runs, "wrong": wrong, "processes": kinds,
        "totals": {"runs": runs, "wrong": wrong, "skipped": len(skipped), "missed": sum(k["missed"] for k in kinds),
                   "falls": sum(k["falls"] for k in kinds), "took_s": round(took_s, 1)},
    }


def line(kind: dict[str, Any]) -> str:
    """For a terminal."""
    if kind["skipped"]:
        return f"{kind['kind']:<20} skipped: {kind['skipped']}"
    worst, median = (("-" if kind[key] is None else f"{kind[key] * 1000:.1f} ms") for key in ("worst_s", "median_s"))
    limit = "none" if kind["limit_s"] is None else f"{kind['limit_s'] * 1000:.0f} ms"
    verdict = "ok" if not kind["wrong"] else f"WRONG {kind['wrong']}: {kind['why']}"
    return (f"{kind['kind']:<20}{kind['repeats']:>4} repeats, damped after worst {worst}, median {median} (limit "
            f"{limit}), missed {kind['missed']}, falls {kind['falls']}  {verdict}")


def write_page(path: Path, report: dict[str, Any]) -> None:
    """One file that opens anywhere."""
    rows = "".join(
        f"<tr><td><b>{kind['kind']}</b><br>{html.escape(kind['note'])}</td><td>{html.escape(kind['expected'])}</td>"
        f"<td class='{'bad' if kind['wrong'] else 'ok'}'>{html.escape(line(kind))}</td></tr>"
        for kind in report["processes"]
    )
    good = report["wrong"] == 0
    path.write_text(f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>exoactor campaign</title>
<style>{STYLE}body{{max-width:1200px}}</style></head><body><h1>Process campaign</h1>
<p class="big {'ok' if good else 'bad'}">{report['runs']} runs, {report['wrong']} wrong</p>
<p>{report['totals']['skipped']} kinds skipped, {report['totals']['took_s']} s.</p>
<table>{rows}</table></body></html>""", encoding="utf-8")
