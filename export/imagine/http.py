"""HTTP as providers need it: bounded in time and size, patient where they ask for patience, silent about keys."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import Refused

BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may be tried again."""
MOST_BYTES = 512 << 20
MOST_WAIT_S = 60.0
SHOWN = 300
LOOPBACK = ("127.0.0.1", "localhost", "::1")


REFUSED_BUSY = (408, 409, 425, 429, 503)
"""Of these, what says that the request was not taken: it may be sent again even where it has to be paid for."""


class ProviderError(Refused):
    """A provider did not give what it was asked for; nothing of it was used."""


class Lost(ProviderError):
    """Nobody knows whether a request that has to be paid for arrived."""


@dataclass
class Patience:
    """How long a request may take.

    Attributes:
        tries: of one request. wait_s: before the second try, doubled for each further one. answer_s: for one answer.
        sleep, now: the clock, for tests.
    """

    tries: int = 5
    wait_s: float = 2.0
    answer_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


@dataclass
class Http:
    """Requests to one provider.

    Args:
        name: for refusals. base_url: where it lives; only https, or the loopback.
        headers: sent to its own host only, never to where its answers point.
        secrets: what must not appear in anything that is written or shown.
    """

    name: str
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self._library = importlib.import_module("httpx")
        self._check(self.base_url)
        self._client = self._library.Client(  # polls are seconds apart: no connection is kept for the next
            timeout=self.patience.answer_s, verify=not self.base_url.startswith("http:"),
            limits=self._library.Limits(max_keepalive_connections=0))

    def url(self, path: str) -> str:
        """A path under the base, or a whole URL as it is."""
        return path if "://" in path else self.base_url.rstrip("/") + "/" + path.lstrip("/")

    def call(self, method: str, path: str, body: Any = None, *, may_repeat: bool = True) -> Any:
        """The JSON of an answer.

        Args:
            may_repeat: whether a try whose answer got lost may be made again: not where it would be paid for twice.

        Raises:
            ProviderError: no answer, another status than 2xx after all tries, no JSON.
        """
        data = self.fetch(method, path, body, may_repeat=may_repeat)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.error("JSON", f"{len(data)} bytes that are none: {data[:60]!r}",
                             kind=ProviderError if may_repeat else Lost) from error

    def fetch(self, method: str, path: str, body: Any = None, *, may_repeat: bool = True) -> bytes:
        """The body of an answer; refuses as `call`."""
        url, patience = self.url(path), self.patience
        self._check(url)
        wait_s, found, kind = patience.wait_s, "", ProviderError
        for attempt in range(patience.tries):
            if attempt:
                patience.sleep(wait_s)
            wait_s = min(patience.wait_s * 2 ** (attempt + 1), MOST_WAIT_S)
            try:
                status, headers, data = self._once(method, url, body)
            except (self._library.ConnectError, self._library.ConnectTimeout) as error:
                found = f"no connection ({error})"
                continue
            except self._library.TransportError as error:
                found = f"the connection broke ({type(error).__name__}: {error})"
                if not may_repeat:
                    kind = Lost
                    break
                continue
            if 200 <= status < 300:
                return data
            found = f"HTTP {status}: {data[:SHOWN].decode('utf-8', 'replace')}"
            if status not in (BUSY if may_repeat else REFUSED_BUSY):
                kind = Lost if status in BUSY else ProviderError
                break
            wait_s = _asked_for(headers) or wait_s
        raise self.error("an answer", found, kind=kind)

    def _once(self, method: str, url: str, body: Any) -> tuple[int, Mapping[str, str], bytes]:
        httpx, end = self._library, self.patience.now() + self.patience.answer_s
        is_own = _host(url) == _host(self.base_url)
        chunks, size = [], 0
        with self._client.stream(method, url, json=body, headers=dict(self.headers) if is_own else {},
                                 follow_redirects=not is_own) as answer:
            for chunk in answer.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > MOST_BYTES:
                    raise self.error(f"at most {MOST_BYTES >> 20} MiB", "more")
                if self.patience.now() > end:
                    raise httpx.ReadTimeout(f"{self.patience.answer_s:g} s for one answer")
            said = answer.headers.get("content-length")
            if said is not None and "content-encoding" not in answer.headers and int(said) != size:
                raise httpx.ReadError(f"{size} of {said} bytes")
            return int(answer.status_code), dict(answer.headers), b"".join(chunks)

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise self.error("https, or http on the loopback", url)

    def error(self, expected: str, found: str, what_to_do: str = "",
              kind: type[ProviderError] = ProviderError) -> ProviderError:
        """A refusal in which no secret stands."""
        return kind(self.name, expected=expected, found=self.clean(found),
                    what_to_do=what_to_do or "start again to go on where it stopped, or change the provider")

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _asked_for(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds; a date or nonsense counts as nothing."""
    try:
        return min(max(float(headers.get("retry-after", "")), 0.0), MOST_WAIT_S)
    except ValueError:
        return None


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
