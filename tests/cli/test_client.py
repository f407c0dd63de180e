"""The client sends what the API defines, repeats what is safe to repeat with the same key, and raises what was refused."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from aion_client import Client, InvalidCall, JsonText, Problem, Retry, UnexpectedAnswer, Unreachable, VersionPinned
from aion_common.limits import CLIENT_PAUSE_MAX_MS
from cli.scripted_gateway import DROP, Answer, ScriptedGateway, problem, scripted_gateway

STARTED = {"workflow_id": "o-1", "run_id": "a" * 32, "version": "b" * 64, "status": "running"}
SIGNALLED = {"workflow_id": "o-1", "run_id": "a" * 32, "seq": 2}


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as gateway:
        yield gateway


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(gateway: ScriptedGateway, pauses: list[float]) -> Iterator[Client]:
    with Client(gateway.url, namespace="shop", pause=pauses.append) as client:
        yield client


def test_a_start_sends_only_what_was_given(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(status=201, body=STARTED | {"result": 5}))
    assert client.start("order")["run_id"] == "a" * 32
    assert client.start("order", input=None, workflow_id="ö/1", id_conflict="use_existing", wait_ms=7)["result"] == 5
    assert gateway.calls == ["POST /v1/workflows?namespace=shop"] * 2
    assert gateway.requests[0].json == {"workflow_type": "order"}
    assert gateway.requests[1].json == {
        "workflow_type": "order",
        "input": None,
        "workflow_id": "ö/1",
        "id_conflict": "use_existing",
        "wait": "closed",
        "wait_ms": 7,
    }


def test_numbers_arrive_as_they_are(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(Answer(status=201, body=STARTED))
    client.start("order", input=[10**40, 0.1])
    assert b'"input":[10000000000000000000000000000000000000000,0.1]' in gateway.requests[0].body


def test_json_text_is_sent_as_it_is(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(Answer(status=201, body=STARTED), Answer(status=202, body=SIGNALLED))
    client.start("order", input=JsonText('{"g" : 0.10000000000000000555}'))
    client.signal("o-1", "add", JsonText("12345678901234567890.123"))
    assert gateway.requests[0].body == b'{"workflow_type":"order","input":{"g" : 0.10000000000000000555}}'
    assert gateway.requests[1].body == b"12345678901234567890.123"


def test_a_number_of_an_answer_keeps_its_digits_when_it_is_sent_on(gateway: ScriptedGateway, client: Client) -> None:
    text = b"[0.10000000000000000555,1e400,-0,1.50,%s]" % (b"7" * 5_000)
    gateway.script(Answer(body=b'{"status":"completed","result":%s}' % text), Answer(status=202, body=SIGNALLED))
    numbers = client.result("o-1").get("result")
    assert isinstance(numbers, list)
    assert (numbers[0], numbers[3]) == (0.1, 1.5)
    assert numbers[4] == 7 * (10**5_000 - 1) // 9
    client.signal("o-1", "add", numbers)
    assert gateway.requests[1].body == text


def test_a_signal_without_payload_has_no_body(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(Answer(status=202, body=SIGNALLED), Answer(status=202, body=SIGNALLED))
    client.signal("o-1", "release")
    client.signal("o-1", "release", None, run_id="a" * 32)
    assert gateway.requests[0].body == b""
    assert "Content-Type" not in gateway.requests[0].headers
    assert gateway.requests[1].body == b"null"
    assert gateway.calls[1] == f"POST /v1/workflows/o-1/signals/release?namespace=shop&run_id={'a' * 32}"


@pytest.mark.parametrize(
    ("workflow_id", "path"),
    [("a/b c", "a%2Fb%20c"), ("..", "%2E%2E"), (".", "%2E"), ("größe?#%", "gr%C3%B6%C3%9Fe%3F%23%25")],
)
def test_any_workflow_id_is_one_segment(gateway: ScriptedGateway, client: Client, workflow_id: str, path: str) -> None:
    gateway.script(Answer(body={"status": "running"}))
    client.result(workflow_id)
    assert gateway.calls == [f"GET /v1/workflows/{path}/result?namespace=shop&wait_ms=0"]


def test_an_archive_is_sent_whole_with_its_length(gateway: ScriptedGateway, client: Client) -> None:
    archive, sent = bytes(range(256)) * 1_000, list[int]()
    gateway.script(Answer(body={"records": [], "freshly_loaded": True, "route_changed": True, "warnings": []}))
    client.deploy(archive, on_sent=sent.append)
    assert gateway.requests[0].body == archive
    assert gateway.requests[0].headers["Content-Length"] == str(len(archive))
    assert sent[-1] == len(archive)


def test_an_address_with_a_path_is_kept(gateway: ScriptedGateway) -> None:
    gateway.script(Answer(body={"versions": []}))
    with Client(f"{gateway.url}/aion/") as client:
        assert client.versions("order") == []
    assert gateway.calls == ["GET /aion/v1/versions?namespace=default&workflow_type=order"]


@pytest.mark.parametrize(
    "first",
    [
        Answer(status=DROP),
        problem("unavailable", 503, idempotency_key="k"),
        problem("shutting_down", 503),
        problem("overloaded", 429),
    ],
)
def test_what_is_safe_to_repeat_is_repeated_with_the_same_key(gateway: ScriptedGateway, client: Client, first: Answer) -> None:
    gateway.script(first, first, Answer(status=201, body=STARTED))
    assert client.start("order", input=1)["workflow_id"] == "o-1"
    assert len({request.key for request in gateway.requests}) == 1
    assert len({request.body for request in gateway.requests}) == 1


def test_each_call_has_a_key_of_its_own_unless_one_is_given(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(*[Answer(status=201, body=STARTED)] * 3)
    client.start("order")
    client.start("order")
    client.start("order", idempotency_key="mine-ü")
    keys = [request.headers["Idempotency-Key"] for request in gateway.requests]
    assert len(set(keys)) == 3
    assert keys[2].encode("latin-1").decode() == "mine-ü"


def test_tries_have_a_deadline_and_pauses_double(gateway: ScriptedGateway, client: Client, pauses: list[float]) -> None:
    gateway.always(problem("unavailable", 503))
    with pytest.raises(Problem, match="unavailable"):
        client.start("order")
    assert pauses[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert 28 < sum(pauses) <= 30


def test_a_client_chooses_how_long_it_repeats(gateway: ScriptedGateway) -> None:
    pauses: list[float] = []
    gateway.always(problem("unavailable", 503))
    for retry_s, least in ((0, 0), (2, 1), (100, 90)):
        pauses.clear()
        with Client(gateway.url, retry_s=retry_s, pause=pauses.append) as client, pytest.raises(Problem, match="unavailable"):
            client.versions()
        assert least <= sum(pauses) <= retry_s
    with pytest.raises(InvalidCall, match="retry_s is 0 or more seconds, got -1"):
        Client(gateway.url, retry_s=-1)


def test_a_pause_asked_for_is_kept_within_the_limit(gateway: ScriptedGateway, client: Client, pauses: list[float]) -> None:
    later = problem("overloaded", 429)
    gateway.script(
        Answer(status=429, body=later.body, headers={"Retry-After": "1"}),
        Answer(status=429, body=later.body, headers={"Retry-After": "9000"}),
        Answer(body={"versions": []}),
    )
    client.versions()
    assert pauses == [1.0, CLIENT_PAUSE_MAX_MS / 1_000]


def test_a_server_that_shuts_down_is_waited_for_until_another_has_its_place(
    gateway: ScriptedGateway, client: Client, pauses: list[float]
) -> None:
    going = Answer(status=503, body=problem("shutting_down", 503).body, headers={"Retry-After": "1"})
    gateway.script(going, going, *[Answer(status=DROP)] * 8, Answer(status=201, body=STARTED))
    assert client.start("order")["workflow_id"] == "o-1"
    assert len({request.key for request in gateway.requests}) == 1
    assert pauses[:2] == [1.0, 1.0]
    assert sum(pauses) > 10


def test_a_server_that_goes_on_draining_is_given_up(gateway: ScriptedGateway, client: Client) -> None:
    gateway.always(problem("shutting_down", 503))
    with pytest.raises(Problem, match="shutting_down"):
        client.start("order")


def test_a_pinned_version_names_what_pins_it(gateway: ScriptedGateway, client: Client) -> None:
    pin = {"kind": "live_run", "workflow_id": "o-1", "run_id": "a" * 32}
    gateway.script(problem("version_pinned", 409, workflow_type="order", version="d" * 64, pins_total=7, pins=[pin]))
    with pytest.raises(VersionPinned) as refusal:
        client.unload("d" * 64, idempotency_key="k")
    assert (refusal.value.pins_total, refusal.value.pins) == (7, [pin])
    assert gateway.calls == [f"DELETE /v1/versions/{'d' * 64}?namespace=shop"]
    assert gateway.requests[0].key == "k"


def test_all_runs_are_listed_page_by_page(gateway: ScriptedGateway, client: Client) -> None:
    pages = [["a", "b"], [], ["c"]]
    for number, ids in enumerate(pages):
        cursor = {"next_cursor": f"p{number}"} if number < 2 else {}
        gateway.script(Answer(body={"workflows": [{"workflow_id": workflow_id} for workflow_id in ids], **cursor}))
    assert [run["workflow_id"] for run in client.every_workflow(page_runs=2, status="running")] == ["a", "b", "c"]
    assert gateway.calls == [
        "GET /v1/workflows?namespace=shop&limit=2&status=running",
        "GET /v1/workflows?namespace=shop&limit=2&cursor=p0&status=running",
        "GET /v1/workflows?namespace=shop&limit=2&cursor=p1&status=running",
    ]


def test_a_list_that_would_never_end_is_no_answer(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(*[Answer(body={"workflows": [], "next_cursor": "p"})] * 2)
    with pytest.raises(UnexpectedAnswer, match="would never end"):
        list(client.every_workflow())


def test_a_query_is_no_change_and_says_how_long_it_may_take(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(Answer(body=[1, None]), Answer(body="ok"))
    assert client.query("o-1", "stage", {"deep": True}, run_id="a" * 32, wait_ms=50) == [1, None]
    assert client.query("o-1", "a/b") == "ok"
    assert gateway.calls == [
        f"POST /v1/workflows/o-1/queries/stage?namespace=shop&run_id={'a' * 32}&wait_ms=50",
        "POST /v1/workflows/o-1/queries/a%2Fb?namespace=shop",
    ]
    assert [request.body for request in gateway.requests] == [b'{"deep":true}', b""]
    assert not any("Idempotency-Key" in request.headers for request in gateway.requests)


def test_drain_is_about_the_gateway_and_no_namespace(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(Answer(status=202, body={"draining": True}))
    assert client.drain() == {"draining": True}
    assert gateway.calls == ["POST /v1/drain"]


def test_a_draining_server_is_not_ready(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(problem("shutting_down", 503))
    assert client.ready() == {"ready": False, "reasons": ["detail of shutting_down"]}


def test_a_refusal_is_not_repeated_and_keeps_its_fields(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(problem("unknown_version", 404, loaded=["c" * 64]))
    with pytest.raises(Problem) as refusal:
        client.route("order", "d" * 64)
    assert (refusal.value.code, refusal.value.status) == ("unknown_version", 404)
    assert refusal.value.fields == {"loaded": ["c" * 64]}
    assert gateway.calls == ["PUT /v1/routes/order?namespace=shop"]
    assert gateway.requests[0].json == {"version": "d" * 64}


def test_a_server_that_is_gone_is_unreachable_and_named(pauses: list[float]) -> None:
    with scripted_gateway() as gateway:
        url = gateway.url
    told: list[Retry] = []
    client = Client(url, pause=pauses.append, on_retry=told.append)
    with client, pytest.raises(Unreachable) as error:
        client.signal("o-1", "release", idempotency_key="k-1")
    assert error.value.url == url
    assert error.value.idempotency_key == "k-1"
    assert len(told) == len(pauses)
    assert 28 < sum(pauses) <= 30 <= error.value.tried_s
    assert told[0].left_s == 30
    assert str(error.value).startswith(f"no answer from {url} in 30.")


def test_a_port_that_is_closed_and_opens_later_is_found() -> None:
    with scripted_gateway() as before:
        port = int(before.url.rpartition(":")[2])
    with ExitStack() as closing:
        opened: list[ScriptedGateway] = []
        refused: list[str] = []

        def open_late(retry: Retry) -> None:
            refused.append(retry.reason)
            if len(refused) == 4:
                opened.append(closing.enter_context(scripted_gateway(Answer(status=201, body=STARTED), port=port)))

        with Client(before.url, on_retry=open_late) as client:
            assert client.start("order", idempotency_key="k")["workflow_id"] == "o-1"
        assert [request.key for request in opened[0].requests] == ["k"]
    assert len(refused) == 4
    assert all("Connection refused" in reason for reason in refused)


@pytest.mark.parametrize(
    ("answer", "raised", "words"),
    [
        (Answer(status=502, body=b"<html>"), Problem, "http_502"),
        (Answer(status=404, body={"detail": "Not Found"}), Problem, "http_404"),
        (Answer(body=b"<html>"), UnexpectedAnswer, "no JSON"),
        (Answer(body=[]), UnexpectedAnswer, "no JSON object"),
        (Answer(body=b'{"versions":NaN}'), UnexpectedAnswer, "no JSON"),
        (Answer(body=b"[" * 100_000), UnexpectedAnswer, "nested too deep"),
        (Answer(body={"hello": 1}), UnexpectedAnswer, "has no field 'versions'"),
    ],
)
def test_answers_of_another_server_are_told_apart(
    gateway: ScriptedGateway, client: Client, answer: Answer, raised: type[Exception], words: str
) -> None:
    gateway.script(answer)
    with pytest.raises(raised, match=words):
        client.versions()


def test_waiting_outlives_a_restart_and_ends_with_the_run(gateway: ScriptedGateway, client: Client) -> None:
    open_answer = Answer(status=202, body={"status": "running"})
    gateway.script(
        open_answer,
        *[Answer(status=DROP)] * 30,
        open_answer,
        Answer(body={"status": "completed", "result": 7}),
    )
    seen: list[str] = []
    assert client.wait("o-1", on_open=lambda result: seen.append(result["status"]))["result"] == 7
    assert seen == ["running", "running"]
    assert set(gateway.calls) == {"GET /v1/workflows/o-1/result?namespace=shop&wait_ms=60000"}


def test_waiting_gives_up_when_nothing_answers_for_long(gateway: ScriptedGateway, client: Client, pauses: list[float]) -> None:
    gateway.always(problem("unavailable", 503))
    with pytest.raises(Problem, match="unavailable"):
        client.wait("o-1")
    assert 590 < sum(pauses) <= 600


def test_readiness_is_an_answer_not_an_error(gateway: ScriptedGateway, client: Client) -> None:
    gateway.script(
        Answer(body={"ready": True, "partitions": 4}),
        problem("unavailable", 503, reasons=["partition 1: nobody owns it yet"]),
        problem("internal", 500),
    )
    assert client.ready() == {"ready": True, "reasons": []}
    assert client.ready() == {"ready": False, "reasons": ["partition 1: nobody owns it yet"]}
    with pytest.raises(Problem):
        client.ready()


def test_a_page_of_history_and_a_description_are_read(gateway: ScriptedGateway, client: Client) -> None:
    description = STARTED | {"namespace": "shop", "workflow_type": "order", "started_at": 1}
    gateway.script(Answer(body={"events": [], "next_seq": None}), Answer(body=description))
    assert client.history("o-1", from_seq=3, limit=2) == {"events": [], "next_seq": None}
    assert client.describe("o-1", run_id="a" * 32)["workflow_type"] == "order"
    assert gateway.calls == [
        "GET /v1/workflows/o-1/history?namespace=shop&from_seq=3&limit=2",
        f"GET /v1/workflows/o-1?namespace=shop&run_id={'a' * 32}",
    ]


@pytest.mark.parametrize("url", ["localhost:7600", "ftp://x", "http://", "http://host:port", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidCall, match="not an address"):
        Client(url)


@pytest.mark.parametrize("key", ["", "a\nb", " a", "x" * 256])
def test_what_is_no_key_is_refused(client: Client, key: str) -> None:
    with pytest.raises(InvalidCall, match="idempotency key"):
        client.start("order", idempotency_key=key)


def test_what_is_no_json_is_refused(client: Client) -> None:
    with pytest.raises(InvalidCall, match="cannot be sent as JSON"):
        client.start("order", input=float("nan"))
