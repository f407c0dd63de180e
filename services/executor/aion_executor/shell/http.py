"""The owner's own HTTP, for gateways: what the log has acknowledged of the runs it owns, and queries. Reads only.

Whoever asks for a partition that is not owned here gets `wrong_owner` (421) and looks for the owner again.
"""

import asyncio
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from aion_beam.frames import QueryFailed
from aion_common.errors import Fenced, VmDied
from aion_common.exposition import metrics_route
from aion_common.ids import Namespace, RunId, WorkflowId
from aion_common.limits import HISTORY_PAGE_EVENTS_MAX, QUERY_MS_MAX, WAIT_MS_MAX
from aion_common.problems import PROBLEM_JSON, WRONG_OWNER, problem, problem_of
from aion_common.records.common import JSON
from aion_common.records.events import HistoryRecord
from aion_common.records.replies import Rejection, RejectionCode
from aion_common.wire import decode
from aion_executor.core.run import Run, RunStatus, is_open
from aion_executor.shell.lists import count_pins, limit_of, list_runs, wanted_of
from aion_executor.shell.partition import OwnedPartition
from aion_executor.shell.views import Json, description_of, history_of, json_bytes, listed, records_of, result_of

Owned = Callable[[], Mapping[int, OwnedPartition]]


def create_app(member: str, owned: Owned) -> Starlette:
    """`owned`: the partitions owned at the moment of the call."""

    async def ready(_: Request) -> Response:
        epochs = {str(number): partition.loop.partition.owner_epoch for number, partition in owned().items()}
        return _json(200, {"member": member, "owned": epochs})

    routes = [Route("/ready", ready), metrics_route()]
    routes += [*_routes_of_runs(owned), *_routes_of_partitions(owned)]
    return Starlette(routes=routes, exception_handlers={ClientDisconnect: _nobody_listens})


async def _nobody_listens(_request: Request, _error: Exception) -> Response:
    """The gateway hung up before its request was whole: it died, or gave up."""
    return Response(status_code=400)


def _routes_of_runs(owned: Owned) -> list[Route]:
    async def description(request: Request) -> Response:
        found = _find(request, owned())
        if isinstance(found, Response):
            return found
        partition, run = found
        resident = partition.loop.residents.is_resident(run.run_id)
        body = description_of(run, _terminal(partition, run), resident=resident)
        if is_open(run) and (trouble := partition.vms.trouble(run.namespace, run.version)) is not None:
            body["hindered_by"] = trouble
        return _json(200, body)

    async def history(request: Request) -> Response:
        found = _find(request, owned())
        if isinstance(found, Response):
            return found
        partition, run = found
        from_seq = int(request.query_params.get("from_seq", "1"))
        limit = min(int(request.query_params.get("limit", HISTORY_PAGE_EVENTS_MAX)), HISTORY_PAGE_EVENTS_MAX)
        values = partition.loop.store.history(run.run_id, from_seq, limit)
        if request.query_params.get("encoding") == "avro":
            return _json(200, records_of(values, from_seq, run.seq))
        return _json(200, history_of(values, from_seq, run.seq))

    async def result(request: Request) -> Response:
        found = _find(request, owned())
        if isinstance(found, Response):
            return found
        partition, run = found
        wait_ms = min(int(request.query_params.get("wait_ms", "0")), WAIT_MS_MAX)
        if is_open(run) and wait_ms > 0:
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await partition.wait_closed(run.run_id)
            except TimeoutError:
                pass
            except Fenced:
                return _wrong_owner()
            run = partition.loop.store.run(run.run_id) or run
        return _json(202 if is_open(run) else 200, result_of(run, _terminal(partition, run)))

    async def query(request: Request) -> Response:
        arguments = await request.body()
        found = _find(request, owned())
        if isinstance(found, Response):
            return found
        wait_ms = min(int(request.query_params.get("wait_ms", QUERY_MS_MAX)), QUERY_MS_MAX)
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await _query(*found, request.query_params["name"], arguments)
        except TimeoutError:
            return _refused(RejectionCode.QUERY_TIMEOUT, f"no answer within {wait_ms} ms")
        except Fenced:
            return _wrong_owner()

    return [
        Route("/partitions/{partition:int}/description", description),
        Route("/partitions/{partition:int}/history", history),
        Route("/partitions/{partition:int}/result", result),
        Route("/partitions/{partition:int}/query", query, methods=["POST"]),
    ]


def _routes_of_partitions(owned: Owned) -> list[Route]:
    async def runs(request: Request) -> Response:
        partition = _partition(request, owned())
        if isinstance(partition, Response):
            return partition
        page = list_runs(partition.loop.store, wanted_of(request.query_params), limit_of(request.query_params))
        return _json(200, listed(page))

    async def pins(request: Request) -> Response:
        partition = _partition(request, owned())
        if isinstance(partition, Response):
            return partition
        try:
            counted = await count_pins(
                lambda: partition.store, Namespace(request.query_params["namespace"]), partition.loop.residents.is_resident
            )
        except Fenced:
            return _wrong_owner()
        return _json(200, {"versions": counted})

    return [
        Route("/partitions/{partition:int}/runs", runs),
        Route("/partitions/{partition:int}/pins", pins),
    ]


async def _query(partition: OwnedPartition, run: Run, name: str, arguments: bytes) -> Response:
    """The answer of the run's code. A VM that dies meanwhile is asked again when it has come back."""
    while True:
        current = partition.loop.store.run(run.run_id)
        assert current is not None, "runs are kept"
        if not is_open(current):
            reason = "the run is closed: what it published went with it"
            return _refused(RejectionCode.CLOSED, reason, status=current.status.value)
        if current.status is not RunStatus.RUNNING:
            return _refused(RejectionCode.QUERY_FAILED, f"the run is {current.status.value}")
        try:
            answer = await partition.query(current, name, arguments)
        except VmDied:
            continue
        match answer:
            case bytes():
                return Response(answer, media_type=JSON)
            case QueryFailed(message=message):
                return _refused(RejectionCode.QUERY_FAILED, message)
            case None:
                # The run is closed or blocked by a batch that is still on its way.
                await partition.next_batch()


def _partition(request: Request, owned: Mapping[int, OwnedPartition]) -> OwnedPartition | Response:
    partition = owned.get(request.path_params["partition"])
    known_epoch = int(request.query_params.get("owner_epoch", "-1"))
    if partition is None or known_epoch > partition.loop.partition.owner_epoch:
        return _wrong_owner()
    return partition


def _find(request: Request, owned: Mapping[int, OwnedPartition]) -> tuple[OwnedPartition, Run] | Response:
    partition = _partition(request, owned)
    if isinstance(partition, Response):
        return partition
    namespace = Namespace(request.query_params["namespace"])
    workflow_id = WorkflowId(request.query_params["workflow_id"])
    store = partition.loop.store
    named = request.query_params.get("run_id")
    run_id = store.newest_run_id(namespace, workflow_id) if named is None else RunId(named)
    run = None if run_id is None else store.run(run_id)
    if run is None or (run.namespace, run.workflow_id) != (namespace, workflow_id):
        return _refused(RejectionCode.NOT_FOUND, "there is no such run")
    return partition, run


def _terminal(partition: OwnedPartition, run: Run) -> HistoryRecord | None:
    if is_open(run):
        return None
    record: HistoryRecord = decode(partition.loop.store.history(run.run_id, run.seq, 1)[0])
    return record


def _refused(code: RejectionCode, reason: str, status: str | None = None) -> Response:
    return _problem(*problem_of(Rejection(code=code, reason=reason, status=status)))


def _wrong_owner() -> Response:
    return _problem(*problem(WRONG_OWNER, "this executor does not own the partition"))


def _json(status: int, body: Json) -> Response:
    return Response(json_bytes(body), status, media_type="application/json")


def _problem(status: int, body: Json) -> Response:
    return Response(json_bytes(body), status, media_type=PROBLEM_JSON)
