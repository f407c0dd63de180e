"""What an activity is told of the attempt it executes, and what it can tell meanwhile.

A function gets it through a parameter that is annotated with `Context`. Everything here may be used from any thread.
"""

import json
import threading
from collections.abc import Callable
from typing import Any

from aion_common import limits
from aion_common.records.common import Payload, json_payload
from aion_common.records.tasks import Task
from aion_worker.errors import ActivityCancelled, TerminalError
from aion_worker.json_values import json_of

Beat = Callable[[Payload | None], None]
"""Takes the details of a heartbeat, None: those of before. May be called from any thread."""


class Context:
    """One attempt of one activity."""

    def __init__(self, task: Task, deadline: int, beat: Beat) -> None:
        self._task = task
        self._deadline = deadline
        self._beat = beat
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._cancellation: threading.Event | None = None

    @property
    def namespace(self) -> str:
        """Of the workflow."""
        return self._task.namespace

    @property
    def workflow_id(self) -> str:
        """Of the workflow that waits for this activity."""
        return self._task.workflow_id

    @property
    def run_id(self) -> str:
        """Of the run that waits for this activity."""
        return self._task.run_id

    @property
    def workflow_type(self) -> str:
        """Of the workflow."""
        return self._task.workflow_type

    @property
    def activity_type(self) -> str:
        """The name under which the workflow called this function."""
        return self._task.activity_type

    @property
    def attempt(self) -> int:
        """From 1."""
        return self._task.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this activity, and for no other: give it to whatever must happen only once."""
        return self._task.idempotency_key

    @property
    def scheduled_at(self) -> int:
        """When the workflow asked for it, in ms since the epoch."""
        return self._task.scheduled_at

    @property
    def deadline(self) -> int:
        """Nobody waits for the result after that, in ms since the epoch; the activity is cancelled then."""
        return self._deadline

    @property
    def heartbeat_details(self) -> Any:
        """What an earlier attempt told last with `heartbeat`; None: nothing."""
        return None if self._task.heartbeat is None else json.loads(self._task.heartbeat.data)

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._is_cancelled

    def heartbeat(self, details: object = None) -> None:
        """Tell that work goes on. `details`, any value that becomes at most 1 KiB of JSON, is given to the next attempt if this
        one fails; None keeps those of before. It costs next to nothing: beats go out at most three times per heartbeat
        time-out, with the newest details.

        Raises ActivityCancelled when nobody waits any more; TerminalError (`limit`) for details that are too large."""
        self.raise_if_cancelled()
        payload = None
        if details is not None:
            text = json_of(details)
            if len(text) > limits.HEARTBEAT_BYTES_MAX:
                raise TerminalError("limit", f"heartbeat details of {len(text)} bytes, at most {limits.HEARTBEAT_BYTES_MAX}")
            payload = json_payload(text)
        self._beat(payload)

    def raise_if_cancelled(self) -> None:
        """Raises ActivityCancelled when nobody waits for the result any more. For functions that are not `async`."""
        if self._is_cancelled:
            raise ActivityCancelled

    def wait_cancelled(self, timeout_s: float) -> bool:
        """Sleep, in a function that is not `async`, but no longer than until it is cancelled; whether it is."""
        with self._lock:
            if self._is_cancelled:
                return True
            if self._cancellation is None:  # made here, since few activities ever wait for it
                self._cancellation = threading.Event()
        return self._cancellation.wait(timeout_s)

    def cancel(self) -> None:
        """Let the activity know. Called by the worker, and by tests."""
        with self._lock:
            self._is_cancelled = True
            if self._cancellation is not None:
                self._cancellation.set()
