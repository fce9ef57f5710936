"""One code for every provider that a description fits: asked at once, or by submit, poll and download."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from export.imagine.description import Description, at, fill, first
from export.imagine.http import Http, Lost, Patience
from export.imagine.ledger import DONE, SENDING, SUBMITTED, Entry, Ledger
from runtime.errors import Refused

LONGEST_JOB_S = 1800.0
SHORTEST_KEY = 8


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        prompt, system, negative: words. image, end_image: PNG. seconds: how long a video is to be.
        answer_schema: of JSON that is to come back.
    """

    prompt: str
    system: str | None = None
    negative: str | None = None
    image: bytes | None = field(default=None, repr=False)
    end_image: bytes | None = field(default=None, repr=False)
    seconds: float | None = None
    seed: int | None = None
    answer_schema: dict[str, Any] | None = None

    def values(self, description: Description, model: str) -> dict[str, Any]:
        """By the names that descriptions use."""
        values: dict[str, Any] = {key: getattr(self, key) for key in ("prompt", "system", "negative", "seed",
                                                                       "answer_schema")}
        for name, image in (("image", self.image), ("end_image", self.end_image)):
            if image is not None:
                text = base64.b64encode(image).decode()
                values |= {f"{name}_base64": text, f"{name}_url": f"data:image/png;base64,{text}"}
        seconds = None if self.seconds is None else description.lasting(self.seconds)
        return {**values, "model": model, "seconds": seconds}


class Provider:
    """A described provider as one set-up uses it.

    Args:
        model, base_url, key_env: instead of the description's, where given.
        usd_per_call, usd_per_s: its price, for the manifest; what is not known is not counted.

    Raises:
        Refused: its key is not in the environment.
    """

    def __init__(
        self, description: Description, *, model: str = "", base_url: str = "", key_env: str = "",
        usd_per_call: float = 0.0, usd_per_s: float = 0.0, patience: Patience | None = None,
    ) -> None:
        self.description = description
        self.model, self.name = model or description.model, description.name
        self._usd = (usd_per_call, usd_per_s)
        variable = key_env or description.key_env
        key = os.environ.get(variable, "") if variable else ""
        if variable and len(key) < SHORTEST_KEY:
            raise Refused(f"provider {self.name}", expected=f"its key in the environment variable {variable}",
                          found="none" if not key else f"{len(key)} characters",
                          what_to_do=f"export {variable}=...; keys are never taken from a file")
        headers = {name: str(fill(text, {"key": key})) for name, text in description.headers.items()}
        self._http = Http(self.name, base_url or description.base_url, headers, (key,) if key else (),
                          patience or Patience())

    def ask(self, request: Request, ledger: Ledger) -> bytes:
        """The result: the answer's text, a picture's or a video's file.

        Raises:
            ProviderError: as `Http`; it would not do it; its job failed or took too long; nothing in its answer.
        """
        values = request.values(self.description, self.model)
        body = self.description.body(values)
        entry = ledger.entry(f"{self.name} {self.model}", body)
        if entry.state == DONE:
            return entry.result.read_bytes()
        if entry.state != SUBMITTED:
            self._submit(entry, values, body)
        answer = entry.answer
        if self.description.job:
            answer = self._wait(entry)
        return self._take(entry, answer, values)

    def _submit(self, entry: Entry, values: Mapping[str, Any], body: Any) -> None:
        entry.state = SENDING
        entry.save()
        path = str(fill(self.description.submit.get("path", ""), values))
        try:
            answer = self._http.call("POST", path, body, may_repeat=False)
        except Lost:
            raise  # the mark stays
        except Refused:
            entry.forget()
            raise
        self._look(entry, answer)
        entry.answer = answer
        if self.description.job:
            entry.job = str(at(answer, self.description.job) or "")
            if not entry.job:
                raise self._http.error(f"a job's name at {self.description.job}", _short(answer), kind=Lost)
            entry.state = SUBMITTED
            entry.save()

    def _wait(self, entry: Entry) -> Any:
        """Until the job is done; returns the last answer."""
        poll, patience = self.description.poll, self._http.patience
        end = patience.now() + LONGEST_JOB_S
        while True:
            answer = self._http.call("GET", self._path(poll, entry))
            state = at(answer, poll["state"])
            if state in poll["done"]:
                self._look(entry, answer)
                return answer
            if state not in poll["waiting"]:
                self._look(entry, answer)
                entry.forget()
                raise self._http.error(f"a job that ends as {' or '.join(map(str, poll['done']))}", _short(answer))
            if patience.now() > end:
                raise self._http.error(f"a result within {LONGEST_JOB_S:.0f} s", f"still {state}",
                                       "start again: the same job is asked for")
            patience.sleep(float(poll.get("every_s", 10.0)))

    def _path(self, at_step: Mapping[str, Any], entry: Entry) -> str:
        if "path" in at_step:
            return str(fill(at_step["path"], {"job": entry.job, "model": self.model}))
        found = at(entry.answer, at_step["url_at"])
        if not isinstance(found, str):
            raise self._http.error(f"an address at {at_step['url_at']}", _short(entry.answer))
        return found

    def _take(self, entry: Entry, answer: Any, values: Mapping[str, Any]) -> bytes:
        """The result of a finished answer, kept."""
        result = self.description.result
        if "url_at" in result or "path" in result:
            answer = self._http.call("GET", self._path(result, entry))
            self._look(entry, answer)
        ended = at(answer, result["ended"]) if "ended" in result else None
        if ended is not None and ended not in result["well"]:
            entry.forget()
            raise self._http.error(f"an answer that ended as {' or '.join(result['well'])}", f"{ended}",
                                   "ask again, in fewer words")
        suffix, data = self._data(entry, answer)
        usage = at(answer, "usage") or at(answer, "usageMetadata") or {}
        seconds = values.get("seconds")
        cost = self._usd[0] + self._usd[1] * (float(seconds) if seconds is not None else 0.0)
        return entry.finish(data, suffix, {"provider": self.name, "model": self.model, "cost_usd": cost,
                                           "job": entry.job, "usage": usage})

    def _data(self, entry: Entry, answer: Any) -> tuple[str, bytes]:
        result = self.description.result
        if "text" in result:
            text = first(answer, result["text"])
            if isinstance(text, str):
                return ".txt", text.encode()
        if "base64" in result:
            text = first(answer, result["base64"])
            try:
                if isinstance(text, str):
                    return ".png", base64.b64decode(text, validate=True)
            except ValueError:
                pass
        if "media" in result:
            url = first(answer, result["media"])
            if isinstance(url, str):
                return ".mp4", self._http.fetch("GET", url)
        entry.forget()
        places = [path for key in ("text", "base64", "media") for path in result.get(key, ())]
        raise self._http.error(f"a result at {' or '.join(places)}", _short(answer))

    def _look(self, entry: Entry, answer: Any) -> None:
        """Refuses an answer that says no; asking again is asking anew."""
        refusal, error = first(answer, self.description.refusals), first(answer, self.description.error)
        if refusal is not None or error is not None:
            entry.forget()
        if refusal is not None:
            raise self._http.error("that it does what is asked", f"it refuses: {refusal}",
                                   "say the task in other words, or take another provider")
        if error is not None:
            raise self._http.error("a result", f"an error: {error}")


def _short(answer: Any) -> str:
    return json.dumps(answer)[:300]
