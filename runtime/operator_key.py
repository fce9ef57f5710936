"""The operator link's shared secret, and the rule that nothing but loopback goes without one."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import stat
from pathlib import Path

from runtime.errors import Refused

KEY_BYTES = 32
_HEX = re.compile(rb"([0-9a-fA-F]{64})\s*")
Address = tuple[str, int]


def make_key(path: Path) -> None:
    """Write a new key that only its owner may read.

    Raises:
        Refused: the file exists, or cannot be made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Refused(f"key file {path}", expected="a new file in a folder of yours", found=str(error.strerror),
                      what_to_do="choose another name: a key is never overwritten") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")


def read_key(path: Path) -> bytes:
    """The 32 bytes of a key file: 64 hexadecimal digits.

    Raises:
        Refused: no such file, somebody besides its owner may read or write it, or another text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise Refused(f"key file {path}", expected="a plain file", found="something else",
                              what_to_do="make one: exoactor teleop keygen FILE")
            content = file.read(256)
    except OSError as error:
        raise Refused(f"key file {path}", expected="a readable file", found=str(error.strerror),
                      what_to_do="make one: exoactor teleop keygen FILE") from error
    if mode & 0o077:
        raise Refused(f"key file {path}", expected="a file that only its owner may read (mode 0600)",
                      found=f"mode {stat.S_IMODE(mode):04o}",
                      what_to_do="if nobody else has read it: chmod 600 it; else make another")
    found = _HEX.fullmatch(content)
    if found is None:
        raise Refused(f"key file {path}", expected="64 hexadecimal digits", found="another text",
                      what_to_do="make one: exoactor teleop keygen FILE")
    return bytes.fromhex(found[1].decode("ascii"))


def parse_address(text: str, option: str) -> Address:
    """HOST:PORT, the host resolved to IPv4.

    Raises:
        Refused: another form, a port out of range, or a name that nobody knows.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise Refused(option, expected="HOST:PORT", found=text, what_to_do="give both, e.g. 127.0.0.1:5570")
    try:
        found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise Refused(option, expected="an IPv4 address or a name that resolves to one", found=f"{host}: {error}",
                      what_to_do="give the address itself") from error
    return str(found[0][4][0]), int(port)


def check_bind(address: Address, key: bytes | None, option: str) -> None:
    """Nothing but loopback is bound without a key.

    Raises:
        Refused: an address that others can reach, without a key.
    """
    if key is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise Refused(option, expected="a key file for an address that others can reach",
                      found=f"{address[0]}:{address[1]} without one",
                      what_to_do="exoactor teleop keygen FILE, copy it to the operator, and give --teleop-key FILE")
