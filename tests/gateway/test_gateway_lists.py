"""Lists: the owners' lists merged, in order, each run once, page after page."""

import base64
import random
from itertools import chain

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aion_common import limits
from aion_common.errors import Unavailable
from aion_gateway.listing import ListedRun, Merge, OwnersPage, position_of, position_of_cursor
from gateway.owned_runs import VERSION, OwnedRuns, rank, run
from gateway.scripted import problem_answer
from gateway.world import PARTITIONS, World, world

RUNS = "/v1/workflows"


def given_runs(w: World, owned: OwnedRuns) -> OwnedRuns:
    """The owner lists these."""
    w.owner.lists["runs"] = owned
    return owned


async def listed(w: World, query: str) -> list[list[int]]:
    """Page after page to the end: the numbers of the runs."""
    pages: list[list[int]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await w.http.get(f"{RUNS}?{query}" + (cursor and f"&cursor={cursor}"))
        assert answer.status_code == 200
        pages.append([int(one["run_id"], 16) for one in answer.json()["workflows"]])
        cursor = answer.json().get("next_cursor")
    return pages


async def test_runs_of_all_partitions_are_shown_newest_first() -> None:
    async with world() as w:
        given_runs(w, OwnedRuns(runs={0: [run(10, 1)], 1: [run(30, 3), run(20, 4)], 2: [run(20, 2, status="failed")]}))
        answer = await w.http.get(RUNS)
        assert [int(one["run_id"], 16) for one in answer.json()["workflows"]] == [3, 2, 4, 1]
        assert "next_cursor" not in answer.json()
        assert answer.json()["workflows"][1] == {
            "namespace": "default",
            "workflow_id": "workflow-2",
            "run_id": f"{2:032x}",
            "workflow_type": "order",
            "version": VERSION,
            "status": "failed",
            "started_at": 20,
            "closed_at": 21,
        }
        assert "closed_at" not in answer.json()["workflows"][0]


async def test_no_runs_are_an_empty_page() -> None:
    async with world() as w:
        given_runs(w, OwnedRuns(runs={}))
        assert (await w.http.get(RUNS)).json() == {"workflows": []}


async def test_filters_and_namespace_reach_every_owner() -> None:
    async with world() as w:
        owned = given_runs(w, OwnedRuns(runs={}))
        query = f"namespace=shop&workflow_type=order&status=timed_out&version={VERSION}&started_after=7&limit=5"
        await w.http.get(f"{RUNS}?{query}")
        assert sorted(partition for partition, _ in owned.queries) == list(range(PARTITIONS))
        for _, asked in owned.queries:
            assert asked == {
                "namespace": "shop",
                "workflow_type": "order",
                "status": "timed_out",
                "version": VERSION,
                "started_after": "7",
                "limit": "5",
                "owner_epoch": "10",
            }


async def test_pages_follow_one_another() -> None:
    async with world() as w:
        runs = {partition: [run(number, number) for number in range(partition, 30, 3)] for partition in range(3)}
        given_runs(w, OwnedRuns(runs=runs))
        pages = await listed(w, "limit=7")
        assert [len(page) for page in pages] == [7, 7, 7, 7, 2]
        assert list(chain(*pages)) == list(reversed(range(30)))
        assert await listed(w, "limit=15&started_after=9") == [list(range(29, 14, -1)), list(range(14, 9, -1))]


async def test_what_one_partition_alone_has_fills_a_page() -> None:
    async with world() as w:
        given_runs(w, OwnedRuns(runs={1: [run(number, number) for number in range(1000)]}))
        assert await listed(w, "limit=1000") == [list(reversed(range(1000)))]


async def test_a_filter_that_hardly_anything_passes_gives_short_pages() -> None:
    async with world() as w:
        many = [run(number, number, status="running" if number else "failed") for number in range(200)]
        owned = given_runs(w, OwnedRuns(runs={0: many, 1: [run(500, 500, status="failed")]}, scan=5))
        pages = await listed(w, "status=failed&limit=10")
        assert len(pages) > 1
        assert list(chain(*pages)) == [500, 0]
        assert len(owned.queries) <= len(pages) * limits.LIST_ROUNDS_MAX * PARTITIONS


async def test_a_cursor_works_at_any_gateway_and_with_runs_that_came_since() -> None:
    async with world() as w:
        given_runs(w, OwnedRuns(runs={0: [run(3, 3), run(2, 2), run(1, 1)]}))
        cursor = (await w.http.get(f"{RUNS}?limit=2")).json()["next_cursor"]
        given_runs(w, OwnedRuns(runs={0: [run(9, 9), run(3, 3), run(2, 2), run(1, 1)]}))
        assert [int(one["run_id"], 16) for one in (await w.http.get(f"{RUNS}?cursor={cursor}")).json()["workflows"]] == [1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=open", "status"),
        ("status=", "status"),
        ("status=Running", "status"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e2", "limit"),
        ("limit=%EF%BC%95", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("started_after=yesterday", "started_after"),
        ("started_after=-1", "started_after"),
        ("version=v1", "version"),
        ("workflow_type=", "workflow_type"),
        ("workflow_type=a%00b", "workflow_type"),
        ("namespace=A", "namespace"),
        ("order=asc", "order"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=!!", "cursor"),
        ("cursor=%ff", "query"),
        ("cursor=" + base64.urlsafe_b64encode(b"5/x").decode().rstrip("="), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"-5/" + b"0" * 32).decode().rstrip("="), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"05/" + b"0" * 32).decode().rstrip("="), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"5/" + b"0" * 32).decode().rstrip("=") + "=", "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"5/" + b"0" * 32 + b"\n").decode().rstrip("="), "cursor"),
        ("cursor=%C3%A4" + "A" * 10_000, "cursor"),
    ],
)
async def test_a_bad_query_names_its_field_and_asks_nobody(query: str, field: str) -> None:
    async with world() as w:
        answer = await w.http.get(f"{RUNS}?{query}")
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_argument", field)
        assert w.executors.requests == []


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"[]",
        b'{"workflows":[{}],"position":null}',
        b'{"workflows":[],"position":"x"}',
        b'{"workflows":[]}',
    ],
)
async def test_an_owner_that_talks_nonsense_makes_the_list_unavailable(nonsense: bytes) -> None:
    async def talks(_partition: int, _query: dict[str, str]) -> httpx.Response:
        return httpx.Response(200, content=nonsense)

    async with world() as w:
        w.owner.lists["runs"] = talks
        answer = await w.http.get(RUNS)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_without_every_owner_there_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLY_WAIT_MS", 30)
    async with world() as w:
        given_runs(w, OwnedRuns(runs={0: [run(1, 1)]}))
        del w.owner.owned[1]
        answer = await w.http.get(RUNS)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_an_executor_that_does_not_know_lists_yet_makes_them_unavailable() -> None:
    async def refuses(_partition: int, _query: dict[str, str]) -> httpx.Response:
        return problem_answer("not_found", "there is nothing at this path")

    async with world() as w:
        w.owner.lists["runs"] = refuses
        assert (await w.http.get(RUNS)).status_code == 503


def test_only_owners_that_hold_up_the_page_are_asked_again() -> None:
    merge = Merge(range(3), None, 2)
    assert merge.asked == {0: None, 1: None, 2: None}
    ahead = OwnersPage(workflows=[run(9, 9), run(8, 8), run(1, 1)], position=f"1/{1:032x}")
    behind = OwnersPage(workflows=[], position=f"9/{8:032x}")
    merge.take({0: ahead, 1: behind, 2: OwnersPage(workflows=[run(7, 7)], position=None)})
    assert [(partition, at and at.text) for partition, at in merge.asked.items()] == [(1, f"9/{8:032x}")]
    assert merge.page() == ([], position_of(f"9/{8:032x}"))
    merge.take({1: OwnersPage(workflows=[], position=f"2/{2:032x}")})
    assert not merge.asked
    assert merge.page() == ([run(9, 9), run(8, 8)], position_of(f"8/{8:032x}"))


def test_an_owner_that_does_not_go_on_is_not_asked_for_ever() -> None:
    merge = Merge(range(1), None, 10)
    merge.take({0: OwnersPage(workflows=[], position="5/" + "0" * 32)})
    with pytest.raises(Unavailable):
        merge.take({0: OwnersPage(workflows=[], position="5/" + "0" * 32)})


@given(
    seed=st.integers(), partitions=st.integers(1, 4), scan=st.integers(1, 6), limit=st.integers(1, 9), rounds=st.integers(1, 4)
)
def test_every_run_is_shown_once_in_order_whatever_the_pages(
    seed: int, partitions: int, scan: int, limit: int, rounds: int
) -> None:
    chance = random.Random(seed)
    numbers = range(chance.randrange(30))
    runs = [run(chance.randrange(8), number, status=chance.choice(["running", "failed"])) for number in numbers]
    placed = {partition: runs[partition::partitions] for partition in range(partitions)}
    owned = OwnedRuns(runs=placed, scan=scan)
    query = {"namespace": "default", "status": "failed"}
    shown: list[ListedRun] = []
    after = None
    while True:
        merge = Merge(range(partitions), after, limit)
        for _ in range(rounds):
            asked = {p: query | {"limit": "3"} | ({} if at is None else {"after": at.text}) for p, at in merge.asked.items()}
            merge.take({partition: owned.page(partition, of) for partition, of in asked.items()})
        page, position = merge.page()
        assert len(page) <= limit
        shown += page
        if position is None:
            break
        assert position_of_cursor(position.cursor) == position
        assert after is None or position.rank > after.rank
        after = position
    assert shown == sorted((one for one in runs if one.status == "failed"), key=rank)
