"""A gateway that answers as it was told: real sockets, no system behind it. It keeps what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DROP = -1
"""As a status: close the connection without an answer, as a server that dies does."""


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    body: object = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def problem(code: str, status: int, **fields: object) -> Answer:
    body = {"type": f"urn:aion:problem:{code}", "title": code, "status": status, "detail": f"detail of {code}", "code": code}
    return Answer(status=status, body=body | fields, headers={"Content-Type": "application/problem+json"})


class ScriptedGateway:
    """Answers in the order of the script; `on_request` is called before an answer is sent."""

    def __init__(self, url: str, script: Sequence[Answer]) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.on_request: Callable[[Request], None] = lambda _request: None
        self._script = list(script)

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        self.on_request(request)
        assert self._script, f"the script has no answer to {request.method} {request.path}"
        return self._script.pop(0)

    def script(self, *answers: Answer) -> None:
        self._script.extend(answers)

    def always(self, answer: Answer) -> None:
        """From here on each request has this answer."""
        self.on_request = lambda _request: self.script(answer)

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    @property
    def unused(self) -> list[Answer]:
        return list(self._script)


@contextmanager
def scripted_gateway(*script: Answer, port: int = 0) -> Iterator[ScriptedGateway]:
    """Serves on a free port of 127.0.0.1, or on this one, until the end of the block, at which the whole script must have been
    used."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Connection)
    gateway = ScriptedGateway(f"http://127.0.0.1:{server.server_port}", script)
    server.gateway = gateway  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gateway
        assert not gateway.unused
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Connection(BaseHTTPRequestHandler):
    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(method=self.command, path=self.path, headers=dict(self.headers.items()), body=body)
        answer = self.server.gateway.answer(request)  # type: ignore[attr-defined]
        self.close_connection = True
        if answer.status == DROP:
            return
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815 - named by the standard library

    def log_message(self, *_arguments: object) -> None:
        """Nothing is logged."""
