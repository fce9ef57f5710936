"""What a provider's interface looks like, as data: a file for each version of each, filled in and read by one code.

    {"schema": "exoactor-provider/1", "kind": "video", "source": "where the shapes are published",
     "base_url": "https://...", "key_env": "SOME_KEY", "headers": {"Authorization": "Key ${key}"}, "model": "...",
     "seconds": [5, 10], "seconds_as": "text",
     "submit": {"path": "/${model}", "body": {"prompt": "$prompt", "image_url": "$image_url"}},
     "job": "request_id",
     "poll": {"url_at": "status_url", "state": "status", "waiting": ["IN_QUEUE"], "done": ["COMPLETED"]},
     "result": {"url_at": "response_url", "media": ["video.url"]}}

"$name" as a whole text becomes the value, of any type; "${name}" inside a text becomes its words. What has no value
leaves its key out. Answers are read by dotted paths: names, numbers of a list, * for the first item that has the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.reader import Reader, parse_json

SCHEMA = "exoactor-provider/1"
PROVIDERS = Path(__file__).with_name("providers")
KINDS = ("chat", "image", "video")
_KEYS = {"schema", "kind", "source", "base_url", "key_env", "headers", "model", "submit", "job", "poll", "result",
         "seconds", "seconds_as", "refusals", "error", "parts"}
_WORD = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Description:
    """One provider's interface; fields as in the module's text.

    Attributes:
        refusals: paths at which an answer says that it will not do it. error: where it says what went wrong.
        job: path of a job's name in the answer to a submission; "" where the answer is the result.
        parts: pieces of a body by name, each there only where the value that it "needs" is.
    """

    name: str
    kind: str
    base_url: str
    model: str
    submit: Mapping[str, Any]
    result: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    key_env: str = ""
    job: str = ""
    poll: Mapping[str, Any] = field(default_factory=dict)
    seconds: tuple[float, ...] = ()
    seconds_as: str = "number"
    refusals: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def body(self, values: Mapping[str, Any]) -> Any:
        """What is sent to submit a request."""
        parts = {name: fill(part["is"], values) for name, part in self.parts.items()
                 if values.get(part["needs"]) is not None}
        return fill(self.submit.get("body"), {**values, **parts})

    def lasting(self, seconds: float) -> Any:
        """The length to ask for: the shortest on offer that is long enough, or else the longest."""
        if self.seconds:
            long_enough = [s for s in self.seconds if s >= seconds - 1e-6]
            seconds = min(long_enough) if long_enough else max(self.seconds)
        whole = round(seconds) if abs(seconds - round(seconds)) < 1e-9 else seconds
        return f"{whole}" if self.seconds_as == "text" else whole


def names() -> list[str]:
    """The providers that ship."""
    return sorted(path.stem for path in PROVIDERS.glob("*.json"))


def load_description(name_or_path: str) -> Description:
    """A shipped provider by its name, or one in a file.

    Raises:
        Refused: none of the two, no JSON, another form.
    """
    path = PROVIDERS / f"{name_or_path}.json"
    if not path.exists():
        path = Path(name_or_path)
    reader = Reader(f"provider {path.name}", f"see docs/imagine.md; shipped are {', '.join(names())}")
    try:
        data = parse_json(path.read_bytes(), reader)
    except OSError as error:
        raise reader.refuse("file", f"one of {', '.join(names())}, or a file", f"{name_or_path}") from error
    reader.keys("", data, _KEYS, {"schema", "kind", "base_url", "submit", "result"})
    reader.one_of("schema", data["schema"], (SCHEMA,))
    reader.one_of("kind", data["kind"], KINDS)
    for key in ("submit", "result", "poll", "headers"):
        reader.keys(key, data.get(key, {}), None)
    if ("poll" in data) != ("job" in data):
        raise reader.refuse("job", "job and poll together, or neither", ", ".join(sorted(data)))
    return Description(
        path.stem, data["kind"], reader.text("base_url", data["base_url"]), data.get("model", ""), data["submit"],
        data["result"], data.get("headers", {}), data.get("key_env", ""), data.get("job", ""), data.get("poll", {}),
        reader.numbers("seconds", data["seconds"]) if "seconds" in data else (),
        reader.one_of("seconds_as", data.get("seconds_as", "number"), ("number", "text")),
        tuple(data.get("refusals", ())), tuple(data.get("error", ())), data.get("parts", {}), data.get("source", ""),
    )


MISSING = object()
"""What has no value."""


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with its values in place; a key or item whose value is None is left out."""
    filled = _fill(template, values)
    return None if filled is MISSING else filled


def _fill(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        rows = {key: _fill(value, values) for key, value in template.items()}
        return {key: value for key, value in rows.items() if value is not MISSING}
    if isinstance(template, list):
        return [item for item in (_fill(value, values) for value in template) if item is not MISSING]
    if not isinstance(template, str):
        return template
    if re.fullmatch(r"\$\w+", template):
        value = values.get(template[1:])
        return MISSING if value is None else value
    return _WORD.sub(lambda match: str(values.get(match[1], "")), template)


def at(data: Any, path: str) -> Any:
    """What stands at a dotted path; None where nothing does."""
    return _at(data, path.split("."))


def _at(data: Any, steps: Sequence[str]) -> Any:
    for i, step in enumerate(steps):
        if step == "*":
            items = data if isinstance(data, list) else []
            found = (_at(item, steps[i + 1:]) for item in items)
            return next((value for value in found if value is not None), None)
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def first(data: Any, paths: Sequence[str]) -> Any:
    """What stands at the first path that holds something."""
    found = (at(data, path) for path in paths)
    return next((value for value in found if value not in (None, "", [], {})), None)
