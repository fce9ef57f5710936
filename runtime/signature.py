"""Ed25519 signatures of bundles: this computer's signing key, and the keys it trusts.

A signature is by one key over the exact bytes of a `bundle.json`, which in turn holds the hash of every other file.
Keys are text files of one line, so that people can read, compare and copy them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import Refused
from runtime.reader import Reader, parse_json

if TYPE_CHECKING:
    from nacl.signing import SigningKey

SCHEMA = "exoactor-signature/1"
SHIPPED = Path(__file__).with_name("trusted_keys")
PUBLIC, SECRET = "exoactor-ed25519-public", "exoactor-ed25519-secret"
MOST_BYTES = 4096
_HEX = re.compile("[0-9a-f]+")
_LINE = re.compile(r"([a-z0-9-]+) ([0-9a-f]{64})(?: ([ -~]{0,100}))?\n?")


@dataclass(frozen=True)
class PublicKey:
    """A key that somebody signs with.

    Attributes:
        data: its 32 bytes.
        comment: whose it is, as its file says.
        source: that file.
    """

    data: bytes
    comment: str
    source: Path

    @property
    def key_id(self) -> str:
        """Short name: the first 16 hexadecimal digits of the SHA-256 of the key."""
        return key_id(self.data)

    def __str__(self) -> str:
        return f"{self.key_id} ({self.comment})" if self.comment else self.key_id


@dataclass(frozen=True)
class Signature:
    """A signature that was checked and is right.

    Attributes:
        key_id: of the key that made it.
        key: that key, when it is one of the trusted ones, else None.
    """

    key_id: str
    key: PublicKey | None


def key_id(public: bytes) -> str:
    """The short name of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def config_folder() -> Path:
    """Where keys lie: `$EXOACTOR_CONFIG`, else `~/.config/exoactor`."""
    given = os.environ.get("EXOACTOR_CONFIG")
    return Path(given) if given else Path.home() / ".config" / "exoactor"


def signing_key_file() -> Path:
    """Where this computer's private key lies."""
    return config_folder() / "signing_key"


def trusted_keys() -> dict[str, PublicKey]:
    """Every trusted key by id: those that ship with the runtime, and those of this computer.

    Raises:
        Refused: a file that is no public key, or a folder that everybody may write to.
    """
    keys: dict[str, PublicKey] = {}
    for folder in (SHIPPED, config_folder() / "trusted-keys"):
        if not folder.is_dir():
            continue
        if folder.stat().st_mode & stat.S_IWOTH:
            raise Refused(f"folder of trusted keys {folder}", expected="one that only its owner may write to",
                          found="one that everybody may write to", what_to_do=f"chmod o-w {folder}")
        for path in sorted(folder.glob("*.pub")):
            key = read_public_key(path)
            keys[key.key_id] = key
    return keys


def read_public_key(path: Path) -> PublicKey:
    """A `.pub` file."""
    data, comment = _read_line(path, PUBLIC)
    return PublicKey(data, comment, path)


def trust(path: Path) -> tuple[PublicKey, Path]:
    """Copy a public key into this computer's trusted keys; gives the key and where it now lies."""
    key = read_public_key(path)
    return key, _write_public(key.data, key.comment)


def make_signing_key(comment: str) -> tuple[PublicKey, Path]:
    """Make this computer's signing key and trust it here; gives its public half and where that lies.

    Raises:
        Refused: there is one already, or PyNaCl is missing.
    """
    if not re.fullmatch("[ -~]{0,100}", comment):
        raise Refused("comment of a key", expected="at most 100 plain characters", found=repr(comment),
                      what_to_do="say whose key it is in a few words")
    key = _nacl().SigningKey.generate()
    path = signing_key_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Refused("signing key", expected=f"none at {path}", found="one",
                      what_to_do="move it away first: bundles it has signed stay valid where its public half is "
                      "trusted") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{SECRET} {bytes(key).hex()}\n")
    public = _write_public(bytes(key.verify_key), comment)
    return read_public_key(public), public


def load_signing_key() -> SigningKey:
    """This computer's signing key.

    Raises:
        Refused: there is none, others may read it, or PyNaCl is missing.
    """
    path = signing_key_file()
    if not path.is_file():
        raise Refused("signing key", expected=f"a key at {path}", found="none",
                      what_to_do="make one: exoactor export bundle keygen")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Refused(f"signing key {path}", expected="a file that only its owner may read (mode 0600)",
                      found=f"mode {mode:04o}",
                      what_to_do="if nobody else has read it: chmod 600 it; else make another and trust that one")
    data, _ = _read_line(path, SECRET)
    key: SigningKey = _nacl().SigningKey(data)
    return key


def sign(data: bytes, key: SigningKey) -> bytes:
    """The content of a `bundle.sig` for these bytes."""
    public = bytes(key.verify_key)
    return _canonical({"schema": SCHEMA, "key_id": key_id(public), "public_key": public.hex(),
                       "signature": key.sign(data).signature.hex()})


def check(data: bytes, signature_file: bytes, what: str) -> Signature:
    """Check the content of a `bundle.sig` against the bytes it is for.

    Args:
        what: the bundle, for refusals.

    Raises:
        Refused: not a signature file, one that is not over these bytes, or PyNaCl is missing. A right signature by a
            key that nobody here trusts is no error here: `Signature.key` is None.
    """
    fields = _fields(signature_file, f"{what}, bundle.sig")
    signing = _nacl()
    try:
        signing.VerifyKey(bytes.fromhex(fields["public_key"])).verify(data, bytes.fromhex(fields["signature"]))
    except (ValueError, signing.exc.BadSignatureError) as error:
        raise Refused(
            f"signature of {what}", expected=f"one by key {fields['key_id']} over this bundle.json",
            found="a signature over something else",
            what_to_do="bundle.json was changed after signing, or bundle.sig is another bundle's: get the bundle again",
        ) from error
    trusted = trusted_keys().get(fields["key_id"])
    is_the_same = trusted is not None and trusted.data.hex() == fields["public_key"]
    return Signature(fields["key_id"], trusted if is_the_same else None)


def _fields(content: bytes, what: str) -> dict[str, str]:
    reader = Reader(what, "get the bundle again, or have it signed again")
    if len(content) > MOST_BYTES:
        raise reader.refuse("size", f"at most {MOST_BYTES} bytes", f"{len(content)}")
    fields = parse_json(content, reader)
    reader.keys("top level", fields, {"schema", "key_id", "public_key", "signature"},
                {"schema", "key_id", "public_key", "signature"})
    reader.one_of("schema", fields["schema"], (SCHEMA,))
    for name, digits in (("key_id", 16), ("public_key", 64), ("signature", 128)):
        value = fields[name]
        if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
            raise reader.refuse(name, f"{digits} hexadecimal digits", f"{value!r}"[:200])
    if key_id(bytes.fromhex(fields["public_key"])) != fields["key_id"]:
        raise reader.refuse("key_id", f"{key_id(bytes.fromhex(fields['public_key']))}, which public_key gives",
                            fields["key_id"])
    if _canonical(fields) != content:
        raise reader.refuse("text", "the JSON as it was written", "other spacing or order")
    return {name: str(value) for name, value in fields.items()}


def _canonical(fields: dict[str, str]) -> bytes:
    return (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode()


def _write_public(data: bytes, comment: str) -> Path:
    folder = config_folder() / "trusted-keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{key_id(data)}.pub"
    path.write_text(f"{PUBLIC} {data.hex()} {comment}".rstrip() + "\n", encoding="ascii")
    return path


def _read_line(path: Path, kind: str) -> tuple[bytes, str]:
    """The key and the comment of a key file of one line: `KIND HEX [COMMENT]`."""
    try:
        with path.open("rb") as file:
            line = _LINE.fullmatch(file.read(MOST_BYTES).decode("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"key file {path}", expected=f"a line `{kind} KEY`",
                      found=getattr(error, "strerror", None) or str(error), what_to_do="get the file again") from error
    if line is None or line[1] != kind:
        raise Refused(f"key file {path}", expected=f"a line `{kind} KEY [COMMENT]` with 64 hexadecimal digits",
                      found=f"a line `{line[1]} ...`" if line else "another text",
                      what_to_do="get the file again, or take it out of the folder")
    return bytes.fromhex(line[2]), line[3] or ""


def _nacl() -> Any:
    """`nacl.signing`, or a refusal that says how to get it."""
    try:
        import nacl.signing
    except ImportError as error:
        raise Refused("Python package PyNaCl", expected="installed, to make and check signatures", found=f"{error}",
                      what_to_do="pip install 'exoactor[robot]'") from error
    return nacl.signing
