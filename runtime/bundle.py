"""Bundle folders: a controller with its network, golden vectors and card, every file listed by hash, the list signed.

    controller.json   the manifest            bundle.json   name, robot, tolerances, sha256 and size of every other file
    *.onnx            its networks            bundle.sig    an Ed25519 signature of bundle.json's bytes
    golden.npz        golden vectors          CARD.md       for people

Each file is read once, through one handle, and checked; what was checked is what is used. docs/bundles.md has the rest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import signature
from runtime.errors import Refused
from runtime.golden import TOLERANCES
from runtime.reader import Reader, parse_json

SCHEMA = "exoactor-bundle/1"
LISTING, SIGNATURE = "bundle.json", "bundle.sig"
MANIFEST, GOLDEN, CARD = "controller.json", "golden.npz", "CARD.md"
ESTIMATOR = "estimator.json"
"""The manifest of an estimator's bundle, instead of a controller's."""
MOST_FILES = 64
MOST_LISTING_BYTES = 1 << 20
MOST_BYTES = 1 << 30
"""A bundle is held in memory while it is opened; SONIC's two networks, the largest published, are below 200 MB."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,3}")
_AGAIN = "get the bundle again from where it was made"


@dataclass(frozen=True)
class Entry:
    """What the listing says of one file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Listing:
    """A checked `bundle.json`.

    Attributes:
        data: the bytes it was read from, which are what is signed.
        robot: name of the robot it is for.
        tolerances: of golden vectors: observation, action, and others that exporters add.
        files: every other file of the folder by its relative path, `bundle.sig` excepted.
        provenance: where it comes from, for people.
    """

    data: bytes
    name: str
    robot: str
    created_utc: str
    tolerances: dict[str, float]
    files: dict[str, Entry]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Trust:
    """What a bundle's signature amounts to here.

    Attributes:
        ok: signed by a trusted key.
        text: by whom, or what is missing.
        what_to_do: where it is not ok.
    """

    ok: bool
    text: str
    what_to_do: str = ""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those that were listed.

    Attributes:
        files: the bytes of every listed file.
    """

    folder: Path
    listing: Listing
    files: Mapping[str, bytes]
    trust: Trust


def is_bundle(manifest: Path) -> bool:
    """Whether this manifest is one of a bundle, or of what is left of one."""
    return manifest.name == MANIFEST and any(
        os.path.lexists(manifest.parent / name) for name in (LISTING, SIGNATURE, GOLDEN)
    )


def open_bundle(folder: Path) -> Bundle:
    """Read and check everything but the signature's key and the golden vectors.

    Raises:
        Refused: naming the file: missing, unlisted, of another size or hash, a link, or a signature of other bytes.
    """
    listing = read_listing(folder)
    trust = check_signature(folder, listing)  # first: a list that was changed says nothing about the files
    check_folder(folder, listing)
    files = {name: read_entry(folder, name, entry) for name, entry in listing.files.items()}
    return Bundle(folder, listing, files, trust)


def read_listing(folder: Path) -> Listing:
    """The `bundle.json` of a folder."""
    what = f"bundle {folder.name}"
    if not (folder / LISTING).exists():
        raise Refused(what, expected=f"a {LISTING} that lists its files", found="none", what_to_do=_AGAIN)
    return parse_listing(read_regular(folder, LISTING, MOST_LISTING_BYTES), what)


def parse_listing(data: bytes, what: str) -> Listing:
    """Check the content of a `bundle.json`."""
    reader = Reader(f"{what}, {LISTING}", _AGAIN)
    if len(data) > MOST_LISTING_BYTES:
        raise reader.refuse("size", f"at most {MOST_LISTING_BYTES} bytes", f"{len(data)}")
    found = parse_json(data, reader)
    keys = {"schema", "name", "robot", "created_utc", "tolerances", "files", "provenance"}
    reader.keys("top level", found, keys, keys)
    reader.one_of("schema", found["schema"], (SCHEMA,))
    reader.keys("tolerances", found["tolerances"], None, set(TOLERANCES))
    tolerances = {key: reader.number(f"tolerances.{key}", value, 0, 1) for key, value in found["tolerances"].items()}
    reader.keys("provenance", found["provenance"], None)
    return Listing(
        data=data,
        name=reader.text("name", found["name"]),
        robot=reader.text("robot", found["robot"]),
        created_utc=reader.text("created_utc", found["created_utc"]),
        tolerances=tolerances,
        files=_entries(reader, found["files"]),
        provenance=found["provenance"],
    )


def _entries(reader: Reader, found: Any) -> dict[str, Entry]:
    reader.keys("files", found, None, {GOLDEN})
    if (MANIFEST in found) == (ESTIMATOR in found):
        raise reader.refuse("files", f"either {MANIFEST} or {ESTIMATOR}", "both" if MANIFEST in found else "neither")
    if len(found) > MOST_FILES:
        raise reader.refuse("files", f"at most {MOST_FILES}", f"{len(found)}")
    entries = {}
    for name, row in found.items():
        key = f"files.{name[:100]}"
        if not _NAME.fullmatch(name) or name in (LISTING, SIGNATURE):
            raise reader.refuse(key, "a plain relative path", f"{name[:100]!r}")
        reader.keys(key, row, {"sha256", "bytes"}, {"sha256", "bytes"})
        if not isinstance(row["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", row["sha256"]):
            raise reader.refuse(f"{key}.sha256", "64 hexadecimal digits", f"{row['sha256']!r}"[:200])
        reader.whole(f"{key}.bytes", row["bytes"], 0, MOST_BYTES)
        entries[name] = Entry(row["sha256"], row["bytes"])
    total = sum(entry.size for entry in entries.values())
    if total > MOST_BYTES:
        raise reader.refuse("files", f"at most {MOST_BYTES} bytes in all", f"{total}")
    return entries


def check_folder(folder: Path, listing: Listing) -> None:
    """Refuse links, devices, and files that nobody listed."""
    known = {*listing.files, LISTING, SIGNATURE}
    for name, mode in walk(folder):
        what = f"file {name} of bundle {listing.name}"
        if not stat.S_ISREG(mode):
            raise Refused(what, expected="a plain file", found="a symbolic link" if stat.S_ISLNK(mode) else "a device",
                          what_to_do=_AGAIN)
        if name not in known:
            raise Refused(what, expected=f"only the files that {LISTING} lists", found="one that it does not list",
                          what_to_do="take it out of the folder, or have the bundle signed anew with it")


def walk(folder: Path, below: str = "") -> Iterator[tuple[str, int]]:
    """(relative path, mode) of everything in a folder but its folders; links are not followed."""
    with os.scandir(folder / below) as places:
        for place in places:
            name = f"{below}{place.name}"
            if place.is_dir(follow_symlinks=False):
                yield from walk(folder, f"{name}/")
            else:
                yield name, place.stat(follow_symlinks=False).st_mode


def read_entry(folder: Path, name: str, entry: Entry) -> bytes:
    """The bytes of a listed file, of which size and hash are right."""
    what = f"file {name} of bundle {folder.name}"
    try:
        data = read_regular(folder, name, entry.size)
    except FileNotFoundError:
        raise Refused(what, expected=f"the file that {LISTING} lists", found="none", what_to_do=_AGAIN) from None
    if len(data) != entry.size:
        raise Refused(what, expected=f"{entry.size} bytes", found=f"{len(data)}", what_to_do=_AGAIN)
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise Refused(what, expected=f"sha256 {entry.sha256}", found=digest,
                      what_to_do=f"it was changed after the bundle was made: {_AGAIN}")
    return data


def read_regular(folder: Path, name: str, most: int) -> bytes:
    """A plain file's bytes, read once; a larger one is cut one byte beyond `most`, where its size refuses it.

    Raises:
        FileNotFoundError: there is none.
        Refused: a link, a device, a folder, or one that cannot be read.
    """
    what = f"file {name} of bundle {folder.name}"
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Refused(what, expected="a plain file", found="something else", what_to_do=_AGAIN)
            return file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        found = "a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise Refused(what, expected="a plain file", found=found, what_to_do=_AGAIN) from error


def check_signature(folder: Path, listing: Listing) -> Trust:
    """Whose signature a bundle bears.

    Raises:
        Refused: one that is not over this `bundle.json`, whoever made it.
    """
    what = f"bundle {listing.name}"
    try:
        data = read_regular(folder, SIGNATURE, signature.MOST_BYTES)
    except FileNotFoundError:
        return Trust(False, f"no signature ({SIGNATURE} is missing)",
                     "have it signed: exoactor export bundle sign BUNDLE")
    signed = signature.check(listing.data, data, what)
    if signed.key is None:
        return Trust(False, f"a signature by key {signed.key_id}, which nobody here trusts",
                     "if you know whose key this is: exoactor export bundle trust KEY.pub")
    return Trust(True, f"signed by {signed.key}")


def refuse_untrusted(listing: Listing, trust: Trust) -> None:
    """Refuse a bundle that no trusted key has signed."""
    if not trust.ok:
        raise Refused(f"bundle {listing.name}", expected="a signature by a trusted key", found=trust.text,
                      what_to_do=trust.what_to_do)
