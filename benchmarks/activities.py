"""What the worker of `steps.py` executes."""

from aion_worker import activity


@activity
async def double(value: int) -> int:
    """As little as an activity can do."""
    return 2 * value
