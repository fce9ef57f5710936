"""`exoactor export parity`: the same observations through everything that can compute a controller's networks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from export.parity import ON_REQUEST, REFERENCE, Parity, Result, Way, check_chain, find_links, source_way, ways
from export.recording import Recording
from export.subject import Subject, open_subject
from runtime.errors import Refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export parity`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export parity BUNDLE --log runs/walk/log.mcap --json\n"
        "  exoactor export parity twist2 --model twist2.onnx --backends cpu-unoptimised,onnx-reference\n"
        "  exoactor export parity BUNDLE --source policy.pt\n"
        "exit codes: 0 all within tolerance, 1 something beyond it, 2 refused"
    )
    names = [REFERENCE, *ways("").keys()]
    parser.add_argument("target", metavar="BUNDLE", help="bundle folder, manifest, shipped name, or a bare FILE.onnx")
    parser.add_argument("--model", help="ONNX file, when the controller does not bring its own")
    parser.add_argument("--log", metavar="LOG.mcap", help="replay a run's observations (default: golden, random)")
    parser.add_argument("--source", action="append", default=[], metavar="[NETWORK=]FILE",
                        help="what it was exported from: TorchScript, checkpoint or ONNX; NETWORK names a stage")
    parser.add_argument("--backends", metavar="A,B,...", help=f"only these of {', '.join(names)}; refused if not there "
                        f"(default: all that work here but {', '.join(ON_REQUEST)})")
    parser.add_argument("--ticks", type=int, default=1000, help="random observations without a log (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object (docs/export.md, Parity)")


def run(args: argparse.Namespace) -> int:
    """Compare, print; 0 when everything is within its tolerance."""
    if not 1 <= args.ticks <= 100_000:
        raise Refused("--ticks", expected="from 1 to 100000", found=f"{args.ticks}", what_to_do="give such a number")
    subject = open_subject(args.target, args.model, args.log, args.ticks, args.seed)
    report = check(subject, _chosen(args.backends, subject.origin), parse_sources(args.source, subject),
                   insist=args.backends is not None)
    if args.json:
        print(json.dumps(report))
    else:
        _say(report)
    return 0 if report["ok"] else 1


def _chosen(text: str | None, origin: str) -> list[Way]:
    table = ways(origin)
    if text is None:
        return [way for name, way in table.items() if name not in ON_REQUEST]
    names = [name for part in text.split(",") if (name := part.strip()) != REFERENCE]  # that one is always a row
    unknown = [name for name in names if name not in table]
    if unknown:
        raise Refused("--backends", expected=f"some of {', '.join((REFERENCE, *table))}", found=", ".join(unknown),
                      what_to_do="choose among these")
    return [table[name] for name in dict.fromkeys(names)]


def parse_sources(given: list[str], subject: Subject) -> dict[str, Path]:
    """network -> file, of `FILE` (the policy) and `NETWORK=FILE`."""
    names = [recording.name for recording in subject.recordings]
    out = {}
    for text in given:
        name, _, path = text.partition("=") if "=" in text else (names[-1], "", text)
        if name not in names:
            raise Refused("--source", expected=f"a network among {', '.join(names)}", found=name,
                          what_to_do="name one of these")
        out[name] = Path(path)
    return out


def check(subject: Subject, chosen: list[Way], sources: dict[str, Path], *, insist: bool) -> dict[str, Any]:
    """The report: every chosen way on every network.

    Args:
        insist: refuse when one of them is not to be had, instead of listing it.
    """
    parities = [Parity(recording, subject.tolerances) for recording in subject.recordings]
    rows = {REFERENCE: {parity.recording.name: parity.check_reference() for parity in parities}}
    main = parities[-1]
    recorded = main.check_recorded()
    if recorded is not None:
        rows["recorded"] = {main.recording.name: recorded}
    if sources:
        rows["source"] = {
            name: parity.check(source_way(sources[name], parity.recording, subject.activation))
            for parity in parities if (name := parity.recording.name) in sources
        }
    links = find_links(parities)
    unavailable: dict[str, str] = {}
    for way in chosen:
        try:
            rows[way.name] = check_chain(way, parities, links)
        except Refused as refusal:
            if insist:
                raise
            unavailable[way.name] = f"{refusal.what}: {refusal.found}; {refusal.what_to_do}"
    backends = {name: _row(subject.recordings, found) for name, found in rows.items()}
    return {
        "ok": all(row["ok"] for row in backends.values()),
        "controller": subject.name,
        "observations": main.recording.ticks,
        "fed_from": subject.fed_from,
        "reference": REFERENCE,
        "backends": backends,
        "unavailable": unavailable,
    }


def _row(recordings: list[Recording], found: dict[str, Result]) -> dict[str, Any]:
    """One backend: the policy's numbers, flips of all networks, and each stage by itself."""
    last = recordings[-1].name
    main = found.get(last) or next(iter(found.values()))
    failed, judged = next(((name, result) for name, result in found.items() if not result.ok), (None, main))
    row = {
        **main.as_dict(),
        "ok": all(result.ok for result in found.values()),
        "token_flips": sum(result.token_flips for result in found.values()),
        "tokens": sum(result.tokens for result in found.values()),
        "worst": judged.worst,
        "first_differing_layer": judged.first_differing_layer,
    }
    if len(recordings) > 1:
        row["failed"] = failed
        row["networks"] = {name: result.as_dict() for name, result in found.items()}
    return row


def _say(report: dict[str, Any]) -> None:
    print(f"{report['controller']}: {report['observations']} observations ({report['fed_from']}), "
          f"against {report['reference']}")
    print(f"{'backend':<16} {'max error':>10} {'mean error':>10} {'tolerance':>10} {'token flips':>14}  ok")
    for name, row in report["backends"].items():
        largest, mean = (("not finite" if row[key] is None else f"{row[key]:.2e}")
                         for key in ("max_action_error", "mean_action_error"))
        flips = f"{row['token_flips']}/{row['tokens']}" if row["tokens"] else "-"
        ok = "yes" if row["ok"] else "NO"
        print(f"{name:<16} {largest:>10} {mean:>10} {row['tolerance']:>10.0e} {flips:>14}  {ok}")
        if not row["ok"]:
            layer, network = row["first_differing_layer"], row.get("failed", "policy")
            where = f"first differing layer: {layer['operator']} that makes {layer['tensor']}" if layer else \
                "no single layer shows it"
            print(f"  -> {network}, observation {row['worst']['observation']}, entry {row['worst']['entry']}; {where}")
    for name, reason in report["unavailable"].items():
        print(f"{name:<16} not compared: {' '.join(reason.split())[:300]}", file=sys.stderr)
