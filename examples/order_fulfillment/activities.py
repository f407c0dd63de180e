"""What the workflow has done outside: a shop with a bank. Everything that happened stands in one SQLite file, `SHOP_DB`.

An activity may be executed more than once, so each asks first whether it happened already under its idempotency key. Nothing
in the file would stop a second charge of an order: if one happened, it would be there.

    aion worker activities
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from pydantic import BaseModel

from aion_worker import Context, RetryableError, TerminalError, activity

SLOW_S = 2.0
TABLES = """
CREATE TABLE IF NOT EXISTS calls (activity TEXT, workflow TEXT, key TEXT, attempt INTEGER);
CREATE TABLE IF NOT EXISTS happened (number INTEGER PRIMARY KEY, what TEXT, workflow TEXT, key TEXT, cents INTEGER);
"""


class Order(BaseModel):
    """What the activities need to know of it. `card`: `good`; `declined`; `mute`, whose bank takes the money and does not
    answer the first time; `slow`, whose bank answers late."""

    item: str
    quantity: int
    cents: int
    card: str = "good"


@activity
def reserve(order: Order, context: Context) -> dict[str, int]:
    """Put the goods aside."""
    with shop(context) as db:
        return {"reservation": once(db, context, 0), "pieces": order.quantity}


@activity
def charge(order: Order, context: Context) -> dict[str, int]:
    """Take the money: once for a key, and never for an order that was refunded."""
    with shop(context) as db:
        if order.card == "declined":
            raise TerminalError("declined", f"the bank refuses {order.cents} cents")
        if db.execute("SELECT 1 FROM happened WHERE what = 'refund' AND workflow = ?", [context.workflow_id]).fetchone():
            raise TerminalError("refunded", "the order was given up meanwhile")
        receipt = once(db, context, order.cents)
    if order.card == "mute" and context.attempt == 1:
        raise RetryableError("no_answer", "the bank took the money, or did it?")
    if order.card == "slow":
        context.wait_cancelled(SLOW_S)
    return {"receipt": receipt}


@activity
def ship(order: Order, context: Context) -> dict[str, int]:
    """Hand the parcel over."""
    with shop(context) as db:
        return {"parcel": once(db, context, 0)}


@activity
def thank(order: Order, context: Context) -> str:
    """Write to the customer."""
    with shop(context) as db:
        once(db, context, 0)
    return f"thank you for the {order.item}"


@activity
def call_back(order: Order, context: Context) -> None:
    """Undoes `ship`."""
    with shop(context) as db:
        once(db, context, 0)


@activity
def refund(order: Order, context: Context) -> int:
    """Undoes `charge`: gives back what was taken, which may be nothing. The cents."""
    with shop(context) as db:
        taken = db.execute("SELECT sum(cents) FROM happened WHERE what = 'charge' AND workflow = ?", [context.workflow_id])
        cents = int(taken.fetchone()[0] or 0)
        once(db, context, cents)
        return cents


@activity
def release(order: Order, context: Context) -> None:
    """Undoes `reserve`."""
    with shop(context) as db:
        once(db, context, 0)


@contextmanager
def shop(context: Context) -> Iterator[sqlite3.Connection]:
    """One transaction, alone in the file; an exception undoes it. That the activity was called is noted all the same."""
    with closing(sqlite3.connect(os.environ.get("SHOP_DB", "shop.db"), timeout=30, isolation_level=None)) as db:
        db.executescript(TABLES)
        call = (context.activity_type, context.workflow_id, context.idempotency_key, context.attempt)
        db.execute("INSERT INTO calls VALUES (?, ?, ?, ?)", call)
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")


def once(db: sqlite3.Connection, context: Context, cents: int) -> int:
    """Let the activity happen, unless it has under this key; its number, the same both times."""
    key = context.idempotency_key
    found = db.execute("SELECT number FROM happened WHERE key = ?", [key]).fetchone()
    if found is not None:
        return int(found[0])
    row = (context.activity_type, context.workflow_id, key, cents)
    made = db.execute("INSERT INTO happened (what, workflow, key, cents) VALUES (?, ?, ?, ?)", row)
    return int(made.lastrowid or 0)
