"""A local server that answers as the providers' published interfaces do, and misbehaves where it is told to."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-a-secret-that-must-not-be-written"


@dataclass
class Fault:
    """What one coming answer does instead: a status, and what is sent with it; or a broken body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang_up: bool = False


@dataclass
class Server:
    """What was asked, and what is to be answered.

    Attributes:
        polls: how often a job is still running when it is asked for.
        faults: one for each coming request to a path that contains the key, first come first.
    """

    url: str = ""
    text: str = '{"actions": []}'
    picture: bytes = b"\x89PNG picture"
    video: bytes = b"video"
    polls: int = 2
    refuses: bool = False
    fails: bool = False
    finish: str = "stop"
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)

    def posts(self) -> list[tuple[str, Any]]:
        """Path and body of everything submitted."""
        return [(path, body) for method, path, body in self.asked if method == "POST"]

    def answer(self, method: str, path: str, body: Any) -> bytes | Any:
        """By the path, as the provider whose path it is."""
        for part, then in self._routes().items():
            if part in path:
                return then(method, path, body)
        return None

    def _routes(self) -> dict[str, Callable[[str, str, Any], Any]]:
        return {"/media/": lambda *_: self.video, "/chat/completions": self._chat, ":generateContent": self._image,
                ":predictLongRunning": self._veo, "operations/": self._veo_poll, "/fal-ai/": self._fal,
                "/models/": self._replicate, "/predictions/": self._replicate_poll}

    def _job(self) -> str:
        name = f"job{len(self.jobs)}"
        self.jobs[name] = self.polls
        return name

    def _is_done(self, name: str) -> bool:
        self.jobs[name] -= 1
        return self.jobs[name] < 0

    def _chat(self, method: str, path: str, body: Any) -> Any:
        message = {"role": "assistant", "content": None if self.refuses else self.text,
                   "refusal": "I cannot help with that" if self.refuses else None}
        return {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}

    def _image(self, method: str, path: str, body: Any) -> Any:
        if self.refuses:
            return {"promptFeedback": {"blockReason": "SAFETY"}}
        parts = [{"text": "Here you are."},
                 {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(self.picture).decode()}}]
        return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": self.finish.upper()}],
                "usageMetadata": {"totalTokenCount": 9}}

    def _veo(self, method: str, path: str, body: Any) -> Any:
        return {"name": f"models/veo/operations/{self._job()}"}

    def _veo_poll(self, method: str, path: str, body: Any) -> Any:
        name = path.rpartition("/")[2]
        if not self._is_done(name):
            return {"name": path}
        if self.fails:
            return {"name": path, "done": True, "error": {"code": 13, "message": "internal"}}
        reply: dict[str, Any] = {"generatedSamples": [{"video": {"uri": f"{self.url}/media/{name}"}}]}
        if self.refuses:
            reply = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["it shows a person"]}
        return {"name": path, "done": True, "response": {"generateVideoResponse": reply}}

    def _fal(self, method: str, path: str, body: Any) -> Any:
        if method == "POST":
            name = self._job()
            base = f"{self.url}{path}/requests/{name}"
            return {"request_id": name, "response_url": base, "status_url": f"{base}/status",
                    "cancel_url": f"{base}/cancel"}
        name = path.removesuffix("/status").rpartition("/")[2]
        if path.endswith("/status"):
            done = self._is_done(name)
            return {"status": "COMPLETED" if done else "IN_PROGRESS" if self.jobs[name] == 0 else "IN_QUEUE"}
        if self.refuses:
            return {"detail": [{"loc": ["body", "prompt"], "msg": "content policy violation"}]}
        return {"error": "worker died"} if self.fails else {"video": {"url": f"{self.url}/media/{name}"}}

    def _replicate(self, method: str, path: str, body: Any) -> Any:
        name = self._job()
        return {"id": name, "status": "starting", "error": None, "output": None,
                "urls": {"get": f"{self.url}/predictions/{name}", "cancel": f"{self.url}/predictions/{name}/cancel"}}

    def _replicate_poll(self, method: str, path: str, body: Any) -> Any:
        name = path.rpartition("/")[2]
        if not self._is_done(name):
            return {"id": name, "status": "processing", "error": None, "output": None}
        if self.fails or self.refuses:
            return {"id": name, "status": "failed", "error": "NSFW content" if self.refuses else "out of memory",
                    "output": None}
        return {"id": name, "status": "succeeded", "error": None, "output": f"{self.url}/media/{name}"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        served = self.served
        length = int(self.headers.get("content-length", 0))
        raw = self.rfile.read(length)
        body = json.loads(raw) if raw else None
        served.asked.append((self.command, self.path, body))
        served.headers.append({key.lower(): value for key, value in self.headers.items()})
        waiting = next((faults for part, faults in served.faults.items() if part in self.path and faults), None)
        if waiting is not None:
            self._send(waiting.pop(0))
            return
        answer = served.answer(self.command, self.path, body)
        if answer is None:
            self._send(Fault(404, b'{"error": "no such path"}'))
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self._send(Fault(200, data))

    def _send(self, fault: Fault) -> None:
        if fault.hang_up:
            self.close_connection = True
            return
        self.send_response(fault.status)
        self.send_header("Content-Length", str(len(fault.body)))
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(fault.body[: len(fault.body) // 2] if fault.cut else fault.body)
        if fault.cut:
            self.close_connection = True

    do_GET = do_POST = _serve  # noqa: N815  (the names of http.server)


@contextlib.contextmanager
def provider_server() -> Iterator[Server]:
    """A server on a free port of the loopback."""
    served = Server()
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
