"""Every provider's description against one server that speaks all their shapes, and all their faults."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.imagine.description import Description, at, fill, load_description, names
from export.imagine.http import Lost, Patience, ProviderError
from export.imagine.ledger import SENDING, SUBMITTED, Entry, Ledger
from export.imagine.provider import Provider, Request
from runtime.errors import Refused
from tests.provider_server import KEY, Fault, Server, provider_server

REQUEST = Request("walk", system="you plan", negative="blur", image=b"\x89PNG scene", seconds=4.0, seed=3,
                  answer_schema={"type": "object"})
EVERY = names()


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now_s, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        """Passes it."""
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def server() -> Iterator[Server]:
    """One for each test."""
    with provider_server() as served:
        yield served


@pytest.fixture
def clock() -> Clock:
    """One for each test."""
    return Clock()


def provider(name: str, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Provider:
    """A shipped provider that lives at the server."""
    described = load_description(name)
    monkeypatch.setenv(described.key_env, KEY)
    if described.kind == "image":
        server.finish = "STOP"
    patience = Patience(sleep=clock.sleep, now=lambda: clock.now_s)
    return Provider(described, base_url=server.url, patience=patience, **options)


def submission(description: Description) -> str:
    """A part of the path that only a submission has."""
    path: str = description.submit["path"]
    return path.replace("${model}", description.model)


def expected(kind: str, server: Server) -> bytes:
    """What a provider of a kind gives."""
    return {"chat": server.text.encode(), "image": server.picture, "video": server.video}[kind]


@pytest.mark.parametrize("name", EVERY)
class TestContract:
    """What every provider has to do, whatever its shapes."""

    def test_gives_what_was_asked_for(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        data = asked.ask(REQUEST, Ledger(tmp_path))
        assert data == expected(asked.description.kind, server)
        (path, body), = server.posts()
        assert path.endswith(submission(asked.description))
        assert "walk" in json.dumps(body) and "$" not in json.dumps(body)
        assert any(KEY in value for value in server.headers[0].values())

    def test_asks_once_for_the_same(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(3):
            provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path))
        assert len(server.posts()) == 1

    def test_asks_again_for_another_and_when_told_to(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        asked.ask(REQUEST, Ledger(tmp_path))
        asked.ask(replace(REQUEST, prompt="run"), Ledger(tmp_path))
        asked.ask(REQUEST, Ledger(tmp_path, attempt=1))
        assert len(server.posts()) == 3

    def test_waits_as_long_as_it_is_told_to_when_there_are_too_many(
            self, name: str, server: Server, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        server.faults[submission(asked.description)] = [Fault(429, headers={"Retry-After": "7"}), Fault(503)]
        assert asked.ask(REQUEST, Ledger(tmp_path)) == expected(asked.description.kind, server)
        assert clock.slept[0] == 7.0

    def test_gives_up_when_there_are_always_too_many(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        server.faults[submission(asked.description)] = [Fault(429)] * 9
        with pytest.raises(ProviderError, match="429"):
            asked.ask(REQUEST, Ledger(tmp_path))
        assert len(server.posts()) == 5
        del server.faults[submission(asked.description)]
        asked.ask(REQUEST, Ledger(tmp_path))  # and it can be asked later

    def test_says_that_it_refuses(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
        server.refuses = True
        with pytest.raises(ProviderError, match=r"cannot help|SAFETY|shows a person|policy|NSFW"):
            provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path))
        server.refuses = False
        provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path))
        assert len(server.posts()) == 2

    def test_refuses_what_is_no_json(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        server.faults[submission(asked.description)] = [Fault(200, b"<html>")]
        with pytest.raises(ProviderError, match="JSON"):
            asked.ask(REQUEST, Ledger(tmp_path))

    def test_refuses_an_answer_of_another_form(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        bodies = (b"{}", b"[1]", b'"x"', b'{"choices": [], "candidates": [{"content": null}]}')
        for attempt, body in enumerate(bodies):
            server.faults[submission(asked.description)] = [Fault(200, body)]
            with pytest.raises(ProviderError):
                asked.ask(REQUEST, Ledger(tmp_path, attempt))

    def test_does_not_send_twice_what_may_have_arrived(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch)
        server.faults[submission(asked.description)] = [Fault(hang_up=True)]
        with pytest.raises(Lost):
            asked.ask(REQUEST, Ledger(tmp_path))
        with pytest.raises(Refused, match="may have to be paid for"):
            asked.ask(REQUEST, Ledger(tmp_path))
        assert len(server.posts()) == 1
        assert asked.ask(REQUEST, Ledger(tmp_path, attempt=1))

    def test_keeps_its_key_to_itself(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        asked = provider(name, server, clock, monkeypatch)
        server.faults[submission(asked.description)] = [Fault(401, f"bad key {KEY}".encode())]
        with pytest.raises(ProviderError) as refused:
            asked.ask(REQUEST, Ledger(tmp_path))
        asked.ask(REQUEST, Ledger(tmp_path))
        written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert KEY.encode() not in written and KEY not in str(refused.value) + caplog.text + repr(vars(asked))

    def test_needs_its_key(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        described = load_description(name)
        monkeypatch.delenv(described.key_env, raising=False)
        with pytest.raises(Refused, match=described.key_env):
            Provider(described)

    def test_counts_what_it_costs(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
        asked = provider(name, server, clock, monkeypatch, usd_per_call=0.5)
        ledger = Ledger(tmp_path)
        asked.ask(REQUEST, ledger)
        assert ledger.used[0].facts is not None and ledger.used[0].facts["cost_usd"] == 0.5

    def test_notices_a_damaged_result(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
        ledger = Ledger(tmp_path)
        provider(name, server, clock, monkeypatch).ask(REQUEST, ledger)
        ledger.used[0].result.write_bytes(b"other")
        with pytest.raises(Refused, match="another file"):
            provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path))


VIDEO = [name for name in EVERY if load_description(name).kind == "video"]


@pytest.mark.parametrize("name", VIDEO)
class TestJobs:
    """What every provider of videos has to do."""

    def test_a_killed_run_asks_for_the_same_job(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
        asked, ledger = provider(name, server, clock, monkeypatch), Ledger(tmp_path)

        def killed(seconds: float) -> None:
            raise KeyboardInterrupt

        clock.sleep = killed  # type: ignore[method-assign]
        asked = provider(name, server, clock, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            asked.ask(REQUEST, ledger)
        assert ledger.used[0].state == SUBMITTED
        assert provider(name, server, Clock(), monkeypatch).ask(REQUEST, Ledger(tmp_path)) == server.video
        assert len(server.posts()) == 1

    def test_half_a_file_is_fetched_again(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
        server.video = bytes(1000)
        server.faults["/media/"] = [Fault(200, server.video, cut=True)]
        assert provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path)) == server.video
        assert len(server.posts()) == 1

    def test_a_failed_job_says_why_and_may_be_asked_for_again(
            self, name: str, server: Server, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server.fails = True
        with pytest.raises(ProviderError, match=r"internal|worker died|out of memory"):
            provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path))
        server.fails = False
        assert provider(name, server, clock, monkeypatch).ask(REQUEST, Ledger(tmp_path)) == server.video

    def test_a_job_without_end_is_left_running(self, name: str, server: Server, clock: Clock, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
        server.polls = 10_000
        ledger = Ledger(tmp_path)
        with pytest.raises(ProviderError, match="same job"):
            provider(name, server, clock, monkeypatch).ask(REQUEST, ledger)
        assert ledger.used[0].state == SUBMITTED

    def test_asks_for_a_length_that_is_on_offer(self, name: str) -> None:
        described = load_description(name)
        offered = described.seconds
        assert float(described.lasting(0.5)) == min(offered) and float(described.lasting(99)) == max(offered)
        assert all(float(described.lasting(seconds)) in offered for seconds in (1, 4.5, 5, 5.1, 7))


def test_the_key_goes_to_its_own_host_only(server: Server, clock: Clock, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    with provider_server() as elsewhere:
        asked = provider("replicate", server, clock, monkeypatch)
        poll = server._replicate_poll
        elsewhere.video = b"from elsewhere"

        def pointing_away(method: str, path: str, body: Any) -> Any:
            answer = poll(method, path, body)
            return {**answer, "output": f"{elsewhere.url}/media/1"} if answer["output"] else answer

        monkeypatch.setattr(server, "_replicate_poll", pointing_away)
        assert asked.ask(REQUEST, Ledger(tmp_path)) == b"from elsewhere"
    assert all(KEY not in value for headers in elsewhere.headers for value in headers.values())


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "file:///etc/passwd"])
def test_only_https_and_the_loopback(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ProviderError, match="https"):
        Provider(load_description("openai-chat"), base_url=url)


def test_a_mark_of_sending_outlives_the_process(tmp_path: Path) -> None:
    entry = Ledger(tmp_path).entry("p", {"a": 1})
    entry.state = SENDING
    entry.save()
    with pytest.raises(Refused, match="may have arrived"):
        Ledger(tmp_path).entry("p", {"a": 1})
    assert Ledger(tmp_path).entry("p", {"a": 2}).state == ""


def test_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    entry = Ledger(tmp_path).entry("p", 1)
    for text in ("", "[]", '{"state": "done", "more": 1}'):
        entry.path.write_text(text)
        with pytest.raises(Refused):
            Ledger(tmp_path).entry("p", 1)
    assert isinstance(entry, Entry)


def test_templates_leave_out_what_has_no_value() -> None:
    template = {"a": "$x", "b": "$none", "c": ["$none", "${x}!", 3], "d": {"e": "$none"}}
    assert fill(template, {"x": [1], "none": None}) == {"a": [1], "c": ["[1]!", 3], "d": {}}


def test_paths_read_names_numbers_and_the_first_that_has_the_rest() -> None:
    data = {"a": [{"t": 1}, {"i": {"d": "x"}}]}
    assert at(data, "a.*.i.d") == "x" and at(data, "a.1.i.d") == "x" and at(data, "a.5.i") is None
    assert at(data, "a.b") is None and at("text", "a") is None


@pytest.mark.parametrize(("key", "value"), [
    ("schema", "other"), ("kind", "smell"), ("base_url", ""), ("submit", []), ("extra", 1), ("job", "id"),
    ("seconds", ["five"]), ("seconds_as", "roman"),
])
def test_a_description_of_another_form_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    data = json.loads((Path("export/imagine/providers") / "openai-chat.json").read_text())
    file = tmp_path / "own.json"
    file.write_text(json.dumps(data))
    assert load_description(str(file)).kind == "chat"
    file.write_text(json.dumps({**data, key: value}))
    with pytest.raises(Refused):
        load_description(str(file))
