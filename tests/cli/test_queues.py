"""Task queues on the command line and in the client; and what `describe` shows of activities and timers."""

from collections.abc import Iterator

import pytest

from aion_client import Client, Problem
from cli.command_line import CommandLine, command_line
from cli.scripted_gateway import Answer, ScriptedGateway, problem, scripted_gateway

MAIL = {"name": "mail", "partitions": 4}
DESCRIPTION = {
    "namespace": "default",
    "workflow_id": "o-1",
    "run_id": "c3" * 16,
    "workflow_type": "order",
    "version": "1a" * 32,
    "status": "running",
    "waits_for": "activity 1 or timer 2",
    "started_at": 1_700_000_000_000,
    "history_length": 4,
    "resident": True,
}
ACTIVITY = {
    "activity": 1,
    "type": "charge",
    "queue": "mail",
    "attempt": 3,
    "state": "waiting",
    "scheduled_at": 1_700_000_000_000,
    "retry_at": 1_700_000_001_000,
}


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as gateway:
        yield gateway


@pytest.fixture
def aion(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(capsys, url=gateway.url)


def test_the_client_creates_and_lists_queues_of_the_cluster(gateway: ScriptedGateway) -> None:
    gateway.script(
        Answer(status=201, body=MAIL | {"created": True}),
        Answer(body=MAIL | {"created": False}),
        Answer(body={"queues": [MAIL]}),
        problem("queue_exists", 409, partitions=4),
    )
    with Client(gateway.url, namespace="shop") as client:
        assert client.create_queue("mail") == MAIL | {"created": True}
        assert client.create_queue("mail", 4)["created"] is False
        assert client.queues() == [MAIL]
        with pytest.raises(Problem) as refused:
            client.create_queue("mail", 5)
    assert refused.value.fields["partitions"] == 4
    assert gateway.calls == ["POST /v1/queues", "POST /v1/queues", "GET /v1/queues", "POST /v1/queues"]
    assert [gateway.requests[at].json for at in (0, 1)] == [{"name": "mail"}, MAIL]


def test_creation_is_repeated_when_the_server_dies(gateway: ScriptedGateway) -> None:
    gateway.script(problem("unavailable", 503), Answer(body=MAIL | {"created": False}))
    with Client(gateway.url, pause=lambda _seconds: None) as client:
        assert client.create_queue("mail")["partitions"] == 4


def test_queues_are_listed(gateway: ScriptedGateway, aion: CommandLine) -> None:
    listed = Answer(body={"queues": [{"name": "default", "partitions": 16}, MAIL]})
    gateway.script(listed, listed, Answer(body={"queues": []}))
    assert aion("queues").lines == [["QUEUE", "PARTITIONS"], ["default", "16"], ["mail", "4"]]
    assert aion("queues", "--json").json == listed.body
    assert "`aion create-queue` creates one" in aion("queues").out


def test_a_queue_is_created(gateway: ScriptedGateway, aion: CommandLine) -> None:
    created = Answer(status=201, body=MAIL | {"created": True})
    gateway.script(created, Answer(body={"name": "mail", "partitions": 1, "created": False}), created)
    assert aion("create-queue", "mail", "--partitions", "4").out == "The queue mail is created, with 4 partitions.\n"
    assert aion("create-queue", "mail").out == "The queue mail was there already, with 1 partition.\n"
    assert aion("create-queue", "mail", "--json").json == created.body
    assert [request.json for request in gateway.requests] == [MAIL, {"name": "mail"}, {"name": "mail"}]


def test_what_is_refused_says_what_to_do(gateway: ScriptedGateway, aion: CommandLine) -> None:
    gateway.script(
        problem("queue_exists", 409, partitions=4),
        problem("limit_exceeded", 409, limit=1_000),
        problem("invalid_argument", 400, field="name"),
    )
    outcome = aion("create-queue", "mail", "--partitions", "5")
    assert (outcome.code, outcome.out) == (1, "")
    assert "`aion queues` lists" in outcome.err
    assert "`aion queues` lists" in aion("create-queue", "more").err
    assert aion("create-queue", "Mail").code == 1
    assert aion("create-queue", "mail", "--partitions", "0").code == 2


def test_a_description_shows_activities_and_timers(gateway: ScriptedGateway, aion: CommandLine) -> None:
    started = ACTIVITY | {"activity": 2, "state": "started", "last_heartbeat_at": 1_700_000_000_500}
    del started["retry_at"]
    timers = [{"timer": 3, "fires_at": 1_700_000_002_000}]
    waiting = {"activities": [ACTIVITY, started], "activities_total": 120, "timers": timers, "children": 0, "signals": 1}
    answer = Answer(body=DESCRIPTION | {"pending": waiting})
    gateway.script(answer, answer)
    outcome = aion("describe", "o-1")
    assert ["pending", "120", "activities,", "1", "timer,", "1", "signal"] in outcome.lines
    assert "activity 1 or timer 2" in outcome.out
    first, second = (line for line in outcome.lines if "charge" in line)
    assert first[:5] == ["1", "charge", "mail", "3", "waiting"]
    assert (len(first), first[-1]) == (5 + 2 + 2 + 1, "-")
    assert second[:5] == ["2", "charge", "mail", "3", "started"]
    assert second[7] == "-"
    assert ["and", "118", "more"] in outcome.lines
    assert ["TIMER", "FIRES"] in outcome.lines
    assert aion("describe", "o-1", "--json").json == answer.body


@pytest.mark.parametrize(
    ("waiting", "line"),
    [
        ({"activities": [], "timers": [], "children": 0, "signals": 0}, "nothing"),
        ({"activities": 2, "timers": 1, "children": 0, "signals": 3}, "2 activities, 1 timer, 3 signals"),
        ({}, "nothing"),
    ],
)
def test_nothing_is_shown_of_nothing_and_numbers_of_older_gateways(
    gateway: ScriptedGateway, aion: CommandLine, waiting: dict[str, object], line: str
) -> None:
    gateway.script(Answer(body=DESCRIPTION | {"pending": waiting}))
    outcome = aion("describe", "o-1")
    assert ["pending", *line.split()] in outcome.lines
    assert "TYPE" not in outcome.out
    assert "FIRES" not in outcome.out
