"""How an activity says what its failure means, and how it learns that it was cancelled."""


class RetryableError(Exception):
    """The work failed and may succeed when it is tried again. `kind`: a stable word that a workflow can match; `details`: any
    value that becomes JSON, given to the workflow if no further attempt is made."""

    def __init__(self, kind: str, message: str, details: object = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details


class TerminalError(Exception):
    """The work failed and would fail again: no further attempt. Arguments as those of `RetryableError`."""

    def __init__(self, kind: str, message: str, details: object = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details


class ActivityCancelled(BaseException):
    """Raised by a `Context` in an activity whose result nobody waits for any more. No `Exception`, so that code which catches
    those does not swallow it; in an `async` function an `asyncio.CancelledError` comes by itself at the next `await`."""


class WrongActivity(TypeError):
    """A function cannot be an activity; the message says why."""
