"""Activities without Kafka: what they are given, how their input is checked, what becomes of their results and errors."""

import asyncio
import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from aion_common import limits
from aion_worker import ActivityCancelled, Context, RetryableError, TerminalError, Worker, WrongActivity, activity
from aion_worker.testing import Situation, call, run, task_of


class Item(BaseModel):
    sku: str
    amount: int


class Order(BaseModel):
    items: list[Item]
    due: date


@activity
async def count(order: Order) -> int:
    """Sum of the amounts."""
    return sum(item.amount for item in order.items)


@activity("add-up")
def add(a: int, b: int = 10, *, context: Context) -> dict[str, Any]:
    return {"sum": a + b, "attempt": context.attempt, "key": context.idempotency_key}


def order(**changes: object) -> dict[str, object]:
    return {"items": [{"sku": "x", "amount": 2}, {"sku": "y", "amount": 3}], "due": "2026-01-31"} | changes


async def test_one_parameter_takes_the_whole_input() -> None:
    assert (await call(count, order())).result == 5


def test_several_parameters_take_the_members_of_an_object() -> None:
    assert run(add, {"a": 1}, Situation(attempt=3, idempotency_key="k")).result == {"sum": 11, "attempt": 3, "key": "k"}
    assert run(add, {"a": 1, "b": 2}).result["sum"] == 3


async def test_parameters_of_any_name_are_filled() -> None:
    @activity
    def odd(json: str, copy: int, model_dump: bool) -> list[object]:
        return [json, copy, model_dump]

    assert (await call(odd, {"json": "j", "copy": 1, "model_dump": True})).result == ["j", 1, True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (order(items=[{"sku": "x", "amount": "many"}]), "order.items.0.amount: Input should be a valid integer"),
        (order(due="soon"), "order.due: Input should be a valid date"),
        ({}, "order.items: Field required (and 1 more)"),
        (None, "order: Input should be"),
    ],
)
async def test_bad_input_is_final_and_names_the_field(given: object, message: str) -> None:
    failed = (await call(count, given)).failed
    assert failed is not None
    assert (failed.kind, failed.is_retryable) == ("bad_input", False)
    assert failed.message.startswith(message)
    assert failed.details[0]["field"] == message.partition(":")[0]


async def test_an_object_for_a_single_parameter_says_that_it_takes_the_whole_input() -> None:
    failed = (await call(count, {"order": order()})).failed
    assert failed is not None
    assert failed.message.endswith("; the one parameter order takes the whole input, not its member 'order'")


@pytest.mark.parametrize(
    ("given", "field"), [({"b": 1}, "a"), ({"a": 1, "c": 2}, "c"), ({"a": "x"}, "a"), ([1, 2], "input"), (None, "input")]
)
async def test_bad_input_of_several_parameters_names_them(given: object, field: str) -> None:
    failed = (await call(add, given)).failed
    assert failed is not None
    assert failed.message.startswith(f"{field}: ")
    assert not failed.is_retryable


async def test_a_function_without_parameters_is_called_whatever_the_input_is() -> None:
    @activity
    async def tick() -> str:
        return "tock"

    assert (await call(tick, {"any": "thing"})).result == "tock"


def test_an_activity_called_directly_is_its_function() -> None:
    async def both() -> int:
        return await count(Order.model_validate(order()))

    assert asyncio.run(both()) == 5
    assert count.__doc__ == "Sum of the amounts."
    assert (count.name, add.name) == ("count", "add-up")


async def test_results_are_whatever_pydantic_can_make_json_of() -> None:
    @activity
    def make() -> Any:
        return {"order": Order.model_validate(order()), "on": date(2026, 1, 2)}

    result = (await call(make)).result
    assert result["on"] == "2026-01-02"
    assert result["order"]["items"][0] == {"sku": "x", "amount": 2}


@pytest.mark.parametrize(("result", "kind"), [(object(), "bad_result"), ("x" * limits.PAYLOAD_BYTES_MAX, "limit")])
async def test_a_result_that_cannot_be_stored_is_final(result: object, kind: str) -> None:
    @activity
    def make() -> Any:
        return result

    failed = (await call(make)).failed
    assert failed is not None
    assert (failed.kind, failed.is_retryable) == (kind, False)


@pytest.mark.parametrize(("error", "is_retryable"), [(RetryableError, True), (TerminalError, False)])
async def test_an_error_says_its_kind_its_details_and_whether_to_try_again(error: type[Exception], is_retryable: bool) -> None:
    @activity
    def fail() -> None:
        raise error("declined", "no money", {"balance": 3})

    failed = (await call(fail)).failed
    assert failed is not None
    assert (failed.kind, failed.message, failed.details) == ("declined", "no money", {"balance": 3})
    assert failed.is_retryable == is_retryable


async def test_any_other_error_is_retryable_under_its_class_with_a_traceback() -> None:
    @activity
    async def divide(n: int) -> float:
        return 1 / n

    failed = (await call(divide, 0)).failed
    assert failed is not None
    assert (failed.kind, failed.message, failed.is_retryable) == ("ZeroDivisionError", "division by zero", True)
    assert "return 1 / n" in failed.details["traceback"]


@pytest.mark.parametrize("error", [StopIteration("s"), SystemExit(3), asyncio.CancelledError(), ActivityCancelled()])
@pytest.mark.parametrize("is_async", [True, False])
async def test_errors_that_python_treats_specially_are_failures_too(error: BaseException, is_async: bool) -> None:
    def fail() -> None:
        raise error

    async def fail_async() -> None:
        raise error

    failed = (await call(activity(fail_async if is_async else fail))).failed
    assert failed is not None
    assert failed.is_retryable


async def test_texts_of_a_failure_are_bounded() -> None:
    @activity
    def fail() -> None:
        raise RetryableError("k" * 1_000, "ü" * 10_000, "x" * limits.PAYLOAD_BYTES_MAX)

    failed = (await call(fail)).failed
    assert failed is not None
    assert len(failed.kind) == limits.NAME_BYTES_MAX
    assert len(failed.message.encode()) <= limits.REASON_BYTES_MAX
    assert "details_dropped" in failed.details


async def test_heartbeats_give_their_newest_details_to_the_next_attempt() -> None:
    @activity
    def work(context: Context) -> object:
        for number in range(3):
            context.heartbeat({"row": number})
        context.heartbeat()
        return context.heartbeat_details

    outcome = await call(work, None, Situation(heartbeat_details={"row": 7}))
    assert outcome.result == {"row": 7}
    assert outcome.heartbeat_details == {"row": 2}


async def test_details_of_a_heartbeat_are_bounded() -> None:
    @activity
    async def work(context: Context) -> None:
        context.heartbeat("x" * limits.HEARTBEAT_BYTES_MAX)

    failed = (await call(work)).failed
    assert failed is not None
    assert (failed.kind, failed.is_retryable) == ("limit", False)


async def test_an_async_function_is_cancelled_where_it_waits() -> None:
    cleaned = []

    @activity
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    outcome = await call(wait, None, Situation(cancel_after_s=0.01))
    assert outcome.is_cancelled
    assert cleaned


@pytest.mark.parametrize("how", ["heartbeat", "raise_if_cancelled", "wait"])
async def test_a_function_in_a_thread_learns_of_its_cancellation(how: str) -> None:
    @activity
    def wait(context: Context) -> None:
        while True:
            assert context.wait_cancelled(60)
            context.heartbeat() if how == "heartbeat" else context.raise_if_cancelled()

    assert (await call(wait, None, Situation(cancel_after_s=0.01))).is_cancelled


def test_who_waits_for_a_cancellation_that_has_come_or_comes_meanwhile_is_told() -> None:
    def context() -> Context:
        return Context(task_of("wait", None, Situation()), 0, lambda _: None)

    early, late = context(), context()
    early.cancel()
    assert early.is_cancelled
    assert early.wait_cancelled(60)
    assert not late.wait_cancelled(0)
    told: list[bool] = []
    waiting = [threading.Thread(target=lambda: told.append(late.wait_cancelled(60))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    late.cancel()
    for thread in waiting:
        thread.join()
    assert told == [True] * 3
    assert late.is_cancelled


async def test_a_function_that_ends_its_work_all_the_same_has_a_result() -> None:
    @activity
    async def stubborn(context: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "done"

    @activity
    def stubborn_in_thread(context: Context) -> bool:
        return context.wait_cancelled(60)

    assert (await call(stubborn, None, Situation(cancel_after_s=0.01))).result == "done"
    assert (await call(stubborn_in_thread, None, Situation(cancel_after_s=0.01))).result is True


async def test_an_attempt_is_cancelled_when_its_time_is_over() -> None:
    @activity
    async def wait() -> None:
        await asyncio.Event().wait()

    outcome = await call(wait, None, Situation(start_to_close_ms=10))
    assert outcome.is_cancelled


async def test_functions_in_threads_run_side_by_side() -> None:
    together = threading.Barrier(3)

    @activity
    def meet() -> None:
        together.wait(60)

    async with asyncio.TaskGroup() as group:
        met = [group.create_task(call(meet)) for _ in range(3)]
    assert [meeting.result().failed for meeting in met] == [None] * 3


async def test_a_bound_method_can_be_an_activity() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        async def greet(self, who: str) -> str:
            return f"{self.name} greets {who}"

    assert (await call(activity("greet")(Shop("Corner").greet), "you")).result == "Corner greets you"


def test_functions_that_cannot_be_filled_are_refused_at_once() -> None:
    def open_ended(*values: int) -> None: ...
    def hinted(value: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def uncheckable(value: threading.Event) -> None: ...
    def twice(a: Context, b: Context) -> None: ...

    for function, word in ((open_ended, "values"), (hinted, "Nowhere"), (uncheckable, "uncheckable"), (twice, "Context")):
        with pytest.raises(WrongActivity, match=word):
            activity(function)


def test_a_worker_that_cannot_work_is_refused_at_once() -> None:
    def plain() -> None: ...

    wrong_ones: tuple[Callable[[], Worker], ...] = (
        lambda: Worker("b:1", "Q!", activities=[count]),
        lambda: Worker("b:1", activities=[]),
        lambda: Worker("b:1", activities=[count], max_concurrent=0),
        lambda: Worker("b:1", activities=[count, activity("count")(plain)]),
        lambda: Worker("b:1", activities=[plain]),  # type: ignore[list-item]
    )
    for wrong in wrong_ones:
        with pytest.raises((ValueError, WrongActivity)):
            wrong()
