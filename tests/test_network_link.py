"""The state of a network interface, read from a file that stays open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firmware_bridge import network_link
from firmware_bridge.network_link import NetworkLink


def test_a_loopback_is_up_and_an_absent_interface_is_not() -> None:
    assert NetworkLink("lo").is_up()
    assert not NetworkLink("none-of-that-name").is_up()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(network_link, "STATE", str(tmp_path / "{}"))
    return tmp_path / "eth7"


def test_a_change_is_seen_without_opening_the_file_again(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write_text("up\n", encoding="ascii")
    link = NetworkLink("eth7")
    assert link.is_up()
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened again"))
    for said, is_up in (("down\n", False), ("dormant\n", False), ("unknown\n", True), ("lowerlayerdown\n", False)):
        state.write_text(said, encoding="ascii")
        assert link.is_up() is is_up


def test_an_interface_that_comes_back_is_found_again(state: Path) -> None:
    link = NetworkLink("eth7")
    assert not link.is_up()
    state.write_text("up\n", encoding="ascii")
    assert link.is_up()
    link.close()
    state.unlink()
    assert not link.is_up()
