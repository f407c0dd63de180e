"""Activities in Python, and the worker that executes them.

    from aion_worker import Context, TerminalError, Worker, activity

    @activity
    async def charge(order: Order, context: Context) -> Receipt: ...

    Worker("127.0.0.1:9092", "payments", activities=[charge]).run()

`aion worker MODULE` runs the activities of a module without the last line; `aion_worker.testing` calls one without Kafka.
docs/workers.md tells what a worker promises, and how to write one in another language.
"""

from aion_worker.activity import Activity, activity
from aion_worker.context import Context
from aion_worker.errors import ActivityCancelled, RetryableError, TerminalError, WrongActivity
from aion_worker.serving import NoSuchQueue
from aion_worker.worker import Worker

__all__ = [
    "Activity",
    "ActivityCancelled",
    "Context",
    "NoSuchQueue",
    "RetryableError",
    "TerminalError",
    "Worker",
    "WrongActivity",
    "activity",
]
