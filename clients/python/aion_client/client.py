"""The client: one method per call of the gateway, all of them synchronous and safe to repeat."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote

import httpx

from aion_client.answers import (
    ABSENT,
    OPEN_STATUSES,
    Absent,
    CreatedQueue,
    Deployed,
    Description,
    Draining,
    Ended,
    History,
    Json,
    Listed,
    ListOptions,
    LoadedVersion,
    Queue,
    Readiness,
    Records,
    Result,
    Routed,
    RunList,
    Signalled,
    Started,
    StartOptions,
    Unloaded,
)
from aion_client.http import Call, Patience, Retry, perform, perform_any
from aion_client.json_text import JsonText, render
from aion_client.problem import InvalidCall, Problem, UnexpectedAnswer
from aion_common.limits import (
    CLIENT_ANSWER_MARGIN_MS,
    CLIENT_RETRY_MS,
    CLIENT_WAIT_RETRY_MS,
    NAME_BYTES_MAX,
    QUERY_MS_MAX,
    REPLY_WAIT_MS,
    WAIT_MS_MAX,
)

DEFAULT_URL = "http://127.0.0.1:7600"
DEFAULT_NAMESPACE = "default"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Never asked for through the proxy that the environment may name."""
_UPLOAD_PIECE_BYTES = 64 * 1024

Answer = TypeVar("Answer")


class _Versions(TypedDict):
    versions: list[LoadedVersion]


class _Queues(TypedDict):
    queues: list[Queue]


class Client:
    """A connection to a gateway, for one namespace. Close it, or use it in a `with`. Not for several threads at once.

    A call without an answer, or with one that another try may better, is repeated until `retry_s` after its first failure: so
    it outlives the restart of a gateway.

    Every method raises Problem when refused, Unreachable without an answer, UnexpectedAnswer when the answer is not Aion's,
    InvalidCall when the arguments cannot be sent.
    Calls that change something take an `idempotency_key` (made up when None): repeats with the same key, also by another
    client and days later, get the first answer.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        retry_s: float = CLIENT_RETRY_MS / 1_000,
        on_retry: Callable[[Retry], None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`retry_s` 0: nothing is repeated. `on_retry` is told before a call is. Raises InvalidCall when `url` is no HTTP
        address, and for a negative `retry_s`."""
        address = _address(url)
        if not retry_s >= 0:
            raise InvalidCall(f"retry_s is 0 or more seconds, got {retry_s}")
        self.url = url
        self.namespace = namespace
        self._patience = Patience(retry_s=retry_s, pause=pause, on_retry=on_retry)
        proxied = address.host not in _LOOPBACK
        self._connection = httpx.Client(base_url=address, trust_env=proxied, headers={"Accept": "application/json"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; repeating it is harmless."""
        self._connection.close()

    def deploy(
        self, archive: bytes, *, idempotency_key: str | None = None, on_sent: Callable[[int], None] | None = None
    ) -> Deployed:
        """Loads the package and routes its types to it. `on_sent`: told how many bytes of this try have been sent."""
        headers = _key(idempotency_key) | {"Content-Type": "application/zip", "Content-Length": str(len(archive))}
        call = Call(
            method="POST",
            path="v1/packages",
            query=self._query(),
            headers=headers,
            content=lambda: _pieces(archive, on_sent),
            answer_ms=REPLY_WAIT_MS + CLIENT_ANSWER_MARGIN_MS,
        )
        return self._answer(Deployed, call)

    def versions(self, workflow_type: str | None = None, *, pins: bool = False) -> list[LoadedVersion]:
        """All loaded versions of the namespace, or those of one type; with `pins`, what still needs each."""
        call = _got("v1/versions", self._query(workflow_type=workflow_type, pins="true" if pins else None))
        return self._answer(_Versions, call)["versions"]

    def route(self, workflow_type: str, version: str, *, idempotency_key: str | None = None) -> Routed:
        """Routes new starts of the type to a loaded version, given in full (64 hex digits)."""
        call = self._posted(f"v1/routes/{_segment(workflow_type)}", {"version": version}, idempotency_key)
        return self._answer(Routed, replace(call, method="PUT"))

    def unload(self, version: str, *, idempotency_key: str | None = None) -> Unloaded:
        """Removes a version, given in full, with all its types. Raises VersionPinned while anything needs it."""
        call = self._posted(f"v1/versions/{_segment(version)}", ABSENT, idempotency_key)
        return self._answer(Unloaded, replace(call, method="DELETE"))

    def create_queue(self, name: str, partitions: int | None = None) -> CreatedQueue:
        """Creates a task queue of the cluster unless it is there. `partitions` None: as many as commands have, or those it has
        already; another number than it has is refused (`queue_exists`), as is one queue too many (`limit_exceeded`)."""
        body = {"name": name} if partitions is None else {"name": name, "partitions": partitions}
        return self._answer(CreatedQueue, replace(_keyless(self._posted("v1/queues", body, None)), query={}))

    def queues(self) -> list[Queue]:
        """The task queues of the cluster, by name."""
        return self._answer(_Queues, _got("v1/queues", {}))["queues"]

    def drain(self) -> Draining:
        """Lets this gateway take no new work until it is restarted; signals, queries, reads and waits go on."""
        return self._answer(Draining, replace(_keyless(self._posted("v1/drain", ABSENT, None)), query={}))

    def start(self, workflow_type: str, **options: Unpack[StartOptions]) -> Started:
        """Starts a run; returns when its start is in the log, or with `wait_ms` when it closed or the wait ran out."""
        body: dict[str, object] = {"workflow_type": workflow_type}
        if "input" in options:
            body["input"] = options["input"]
        chosen = {name: options.get(name) for name in ("workflow_id", "version", "id_conflict", "run_timeout_ms")}
        body |= {name: value for name, value in chosen.items() if value is not None}
        wait_ms = options.get("wait_ms")
        if wait_ms is not None:
            body |= {"wait": "closed", "wait_ms": wait_ms}
        call = self._posted("v1/workflows", body, options.get("idempotency_key"), wait_ms=wait_ms or 0)
        return self._answer(Started, call)

    def signal(
        self,
        workflow_id: str,
        name: str,
        payload: Json | JsonText | Absent = ABSENT,
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Signalled:
        """Sends a signal to a run (None: the latest of the workflow id); returns once it is in its history."""
        path = f"{_workflow(workflow_id)}/signals/{_segment(name)}"
        call = self._posted(path, payload, idempotency_key, run_id=run_id)
        return self._answer(Signalled, call)

    def cancel(
        self, workflow_id: str, reason: str | None = None, *, run_id: str | None = None, idempotency_key: str | None = None
    ) -> Ended:
        """Asks a run to end; it may clean up before."""
        return self._end("cancel", workflow_id, reason, run_id, idempotency_key)

    def terminate(
        self, workflow_id: str, reason: str | None = None, *, run_id: str | None = None, idempotency_key: str | None = None
    ) -> Ended:
        """Ends a run at once, whatever it does."""
        return self._end("terminate", workflow_id, reason, run_id, idempotency_key)

    def query(
        self,
        workflow_id: str,
        name: str,
        arguments: Json | JsonText | Absent = ABSENT,
        *,
        run_id: str | None = None,
        wait_ms: int | None = None,
    ) -> Json:
        """What the run's code answers, from what the run last published. Changes nothing. `wait_ms`: how long it may take;
        None: as long as queries may (`limits.QUERY_MS_MAX`)."""
        path = f"{_workflow(workflow_id)}/queries/{_segment(name)}"
        call = self._posted(path, arguments, None, run_id=run_id, wait_ms=wait_ms or QUERY_MS_MAX)
        asked = replace(_keyless(call), query=self._query(run_id=run_id, wait_ms=wait_ms))
        return cast(Json, perform_any(self._connection, asked, self._patience))

    def list_workflows(self, *, limit: int | None = None, cursor: str | None = None, **options: Unpack[ListOptions]) -> RunList:
        """A page of runs, the newest first; the next page begins at `next_cursor`."""
        call = _got("v1/workflows", self._query(limit=limit, cursor=cursor, **options))
        return self._answer(RunList, call)

    def every_workflow(self, *, page_runs: int | None = None, **options: Unpack[ListOptions]) -> Iterator[Listed]:
        """All runs, newest first, asked for page by page as they are taken. `page_runs`: how many in one call."""
        cursor: str | None = None
        while True:
            page = self.list_workflows(limit=page_runs, cursor=cursor, **options)
            yield from page["workflows"]
            following = page.get("next_cursor")
            if following is None:
                return
            if following == cursor:
                raise UnexpectedAnswer(f"{self.url} answers the cursor {cursor!r} with itself: the list would never end")
            cursor = following

    def describe(self, workflow_id: str, *, run_id: str | None = None) -> Description:
        """The state of a run (None: the latest)."""
        return self._answer(Description, _got(_workflow(workflow_id), self._query(run_id=run_id)))

    def history(self, workflow_id: str, *, run_id: str | None = None, from_seq: int = 1, limit: int | None = None) -> History:
        """One page of a run's history, from the event `from_seq` on."""
        query = self._query(run_id=run_id, from_seq=from_seq, limit=limit)
        return self._answer(History, _got(f"{_workflow(workflow_id)}/history", query))

    def records(self, workflow_id: str, *, run_id: str | None = None, from_seq: int = 1) -> Records:
        """One page of a run's history as the records stand in the log."""
        query = self._query(run_id=run_id, from_seq=from_seq, encoding="avro")
        return self._answer(Records, _got(f"{_workflow(workflow_id)}/history", query))

    def result(self, workflow_id: str, *, run_id: str | None = None, wait_ms: int = 0) -> Result:
        """How a run ended; if it is open, waits for its end so long (at most `limits.WAIT_MS_MAX`) and then says its status."""
        return self._result(workflow_id, run_id, wait_ms)

    def wait(self, workflow_id: str, *, run_id: str | None = None, on_open: Callable[[Result], None] | None = None) -> Result:
        """How a run ended, waiting as long as it takes. `on_open` is told while it is open. Outlives
        restarts of the server: only after ten minutes without any answer, or `retry_s` if that is longer, it gives up."""
        retry_s = max(self._patience.retry_s, CLIENT_WAIT_RETRY_MS / 1_000)
        while True:
            result = self._result(workflow_id, run_id, WAIT_MS_MAX, retry_s)
            if result["status"] not in OPEN_STATUSES:
                return result
            if on_open is not None:
                on_open(result)

    def ready(self) -> Readiness:
        """Whether a start would work now. Raises Unreachable when nothing answers at all."""
        call = Call(method="GET", path="readyz", answer_ms=CLIENT_ANSWER_MARGIN_MS, retry_s=0)
        try:
            perform(self._connection, call, self._patience)
        except Problem as problem:
            if problem.status != httpx.codes.SERVICE_UNAVAILABLE:
                raise
            reasons = problem.fields.get("reasons")
            return {"ready": False, "reasons": reasons if isinstance(reasons, list) else [problem.detail]}
        return {"ready": True, "reasons": []}

    def _result(self, workflow_id: str, run_id: str | None, wait_ms: int, retry_s: float | None = None) -> Result:
        call = Call(
            method="GET",
            path=f"{_workflow(workflow_id)}/result",
            query=self._query(run_id=run_id, wait_ms=wait_ms),
            answer_ms=wait_ms + REPLY_WAIT_MS + CLIENT_ANSWER_MARGIN_MS,
            retry_s=retry_s,
        )
        return self._answer(Result, call)

    def _end(self, how: str, workflow_id: str, reason: str | None, run_id: str | None, key: str | None) -> Ended:
        body = {} if reason is None else {"reason": reason}
        return self._answer(Ended, self._posted(f"{_workflow(workflow_id)}/{how}", body, key, run_id=run_id))

    def _posted(
        self,
        path: str,
        body: object,
        idempotency_key: str | None,
        *,
        run_id: str | None = None,
        wait_ms: int = 0,
    ) -> Call:
        headers = _key(idempotency_key)
        content = b""
        if not isinstance(body, Absent):
            content = _json(body)
            headers["Content-Type"] = "application/json"
        return Call(
            method="POST",
            path=path,
            query=self._query(run_id=run_id),
            headers=headers,
            content=lambda: content,
            answer_ms=wait_ms + REPLY_WAIT_MS + CLIENT_ANSWER_MARGIN_MS,
        )

    def _answer(self, kind: type[Answer], call: Call) -> Answer:
        """The answer as `kind`, a TypedDict, after a look at whether the fields it promises are there."""
        body = perform(self._connection, call, self._patience)
        for field in getattr(kind, "__required_keys__", frozenset()):
            if field not in body:
                raise UnexpectedAnswer(f"the answer from {self.url} has no field {field!r}: is it Aion, of this version?")
        return cast(Answer, body)

    def _query(self, **parameters: str | int | None) -> Mapping[str, str | int]:
        given = {name: value for name, value in parameters.items() if value is not None}
        return {"namespace": self.namespace, **given}


def _got(path: str, query: Mapping[str, str | int]) -> Call:
    return Call(method="GET", path=path, query=query, answer_ms=REPLY_WAIT_MS + CLIENT_ANSWER_MARGIN_MS)


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url.rstrip("/") + "/")
    except httpx.InvalidURL as error:
        raise InvalidCall(f"{url!r} is not an address: {error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise InvalidCall(f"{url!r} is not an address such as {DEFAULT_URL}")
    return address


def _json(body: object) -> bytes:
    try:
        return render(body).encode()
    except (TypeError, ValueError) as error:
        raise InvalidCall(f"the value cannot be sent as JSON: {error}") from error


def _key(idempotency_key: str | None) -> dict[str, str]:
    key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
    if not key.isprintable() or key != key.strip() or not 1 <= len(key.encode()) <= NAME_BYTES_MAX:
        raise InvalidCall(f"idempotency key {key!r}: expected 1 to {NAME_BYTES_MAX} bytes of printable text")
    return {"Idempotency-Key": key}


def _keyless(call: Call) -> Call:
    """A call of which every repeat is as good as the first."""
    return replace(call, headers={name: value for name, value in call.headers.items() if name != "Idempotency-Key"})


def _workflow(workflow_id: str) -> str:
    return f"v1/workflows/{_segment(workflow_id)}"


def _segment(text: str) -> str:
    """One segment of a path, whatever the text: also `a/b`, and `..`, which clients and proxies would resolve."""
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def _pieces(archive: bytes, on_sent: Callable[[int], None] | None) -> Iterator[bytes]:
    for start in range(0, len(archive), _UPLOAD_PIECE_BYTES):
        piece = archive[start : start + _UPLOAD_PIECE_BYTES]
        yield piece
        if on_sent is not None:
            on_sent(start + len(piece))
