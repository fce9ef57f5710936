"""`exoactor export bundle`: verify, inspect and sign bundles; make a signing key, and trust one of somebody else's."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from export.bundle_check import bundle_folder, verify
from export.bundle_signing import sign_bundle
from runtime import signature
from runtime.bundle import check_folder, check_signature, read_entry, read_listing
from runtime.errors import Refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export bundle`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export bundle verify bundles/walk --json\n"
        "  exoactor export bundle trust laptop.pub\n\n"
        "`exoactor export bundle ACTION --help` shows one action's options. docs/bundles.md explains signatures."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = _action(actions, "verify", "every check a robot makes: files, signature, robot, golden vectors",
                    "exoactor export bundle verify bundles/walk --robot g1_29dof")
    check.add_argument("bundle", help="folder, or the name of a shipped one")
    check.add_argument("--robot", metavar="NAME", help="the robot it must be for, e.g. g1_29dof")
    check.add_argument("--json", action="store_true", help="{bundle, ok, checks: [{check, ok, expected, found}]}")
    look = _action(actions, "inspect", "what is inside, whoever made it",
                   "exoactor export bundle inspect bundles/walk")
    look.add_argument("bundle", help="folder, or the name of a shipped one")
    look.add_argument("--json", action="store_true", help="the same as JSON")
    sign = _action(actions, "sign", "hash every file anew and sign, after a deliberate edit",
                   "exoactor export bundle sign bundles/walk --new-golden")
    sign.add_argument("bundle", help="folder")
    sign.add_argument("--new-golden", action="store_true",
                      help="record golden vectors anew: the edit was meant to change observations or actions")
    make = _action(actions, "keygen", "make this computer's signing key",
                   'exoactor export bundle keygen --comment "lab laptop"')
    make.add_argument("--comment", default="", help="whose key it is, in a few words")
    trust = _action(actions, "trust", "trust the bundles that a key has signed, on this computer",
                    "exoactor export bundle trust laptop.pub")
    trust.add_argument("key", metavar="FILE.pub", help="public key, as keygen names it")


def _action(actions: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """One action; returns the exit code."""
    actions = {"verify": _verify, "inspect": _inspect, "sign": _sign, "keygen": _keygen, "trust": _trust}
    return actions[args.action](args)


def _verify(args: argparse.Namespace) -> int:
    folder = bundle_folder(args.bundle)
    findings = verify(folder, args.robot)
    ok = all(finding.ok for finding in findings)
    if args.json:
        print(json.dumps({"bundle": str(folder), "ok": ok, "checks": [finding.as_dict() for finding in findings]}))
        return 0 if ok else 2
    for finding in findings:
        print(plain(f"{'ok ' if finding.ok else 'RED'} {finding.check:<24} {finding.found}"))
    for finding in findings:
        if finding.refusal:
            print(plain(f"refused: {finding.refusal}"), file=sys.stderr)
    if ok:
        print("a robot that trusts this key may load it")
    return 0 if ok else 2


def _inspect(args: argparse.Namespace) -> int:
    folder = bundle_folder(args.bundle)
    listing = read_listing(folder)
    try:
        trust = check_signature(folder, listing)
        signed, trusted = trust.text, trust.ok
    except Refused as error:
        signed, trusted = f"{error.found} (expected {error.expected})", False
    files = {
        name: {"bytes": entry.size, "sha256": entry.sha256,
               "state": _said_of(partial(read_entry, folder, name, entry))}
        for name, entry in listing.files.items()
    }
    about = {
        "name": listing.name, "robot": listing.robot, "created_utc": listing.created_utc, "signature": signed,
        "trusted": trusted, "folder": _said_of(partial(check_folder, folder, listing)),
        "tolerances": listing.tolerances, "provenance": listing.provenance, "files": files,
    }
    if args.json:
        print(json.dumps(about))
        return 0
    if not trusted:
        print("NOT TRUSTED: what follows is no more than what somebody wrote")
    _show("", about)
    return 0


def _show(indent: str, value: dict[str, Any]) -> None:
    for key, part in value.items():
        if isinstance(part, dict) and part:
            print(plain(f"{indent}{key}"))
            _show(indent + "  ", part)
        else:
            print(plain(f"{indent}{key:<{24 - len(indent)}} {part}"))


def _said_of(check: Callable[[], object]) -> str:
    """What a check refuses, in words."""
    try:
        check()
    except Refused as error:
        return f"NOT AS LISTED: {error.what}: found {error.found}"
    return "as listed"


def _sign(args: argparse.Namespace) -> int:
    folder = Path(args.bundle)
    if not folder.is_dir():
        raise Refused(f"bundle {args.bundle}", expected="a folder", found="none of that name",
                      what_to_do="give the folder of a bundle")
    signed = sign_bundle(folder, new_golden=args.new_golden)
    for word, names in (("changed", signed.changed), ("added", signed.added), ("removed", signed.removed)):
        for name in names:
            print(plain(f"{word} since it was last listed: {name}"))
    print(f"signed {folder.name} with key {signed.key_id}")
    if signed.objection:
        print(plain(f"WARNING: a robot will still refuse it: {signed.objection}"), file=sys.stderr)
    return 0


def _keygen(args: argparse.Namespace) -> int:
    key, public = signature.make_signing_key(args.comment)
    print(f"private key  {signature.signing_key_file()}  (keep it on this computer)")
    print(f"public key   {public}  (copy it to whom shall trust your bundles)")
    print(f"key id       {key.key_id}")
    return 0


def _trust(args: argparse.Namespace) -> int:
    key, place = signature.trust(Path(args.key))
    print(f"bundles signed by key {key} are trusted on this computer: {place}")
    return 0


def plain(text: str) -> str:
    """Text of somebody else's file for a terminal: no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
