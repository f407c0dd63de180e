"""A client of Aion's HTTP API: deploy packages, start and signal workflows, read what became of them.

    with Client("http://127.0.0.1:7600") as aion:
        started = aion.start("order", input={"id": 7})
        closed = aion.wait(started["workflow_id"], run_id=started["run_id"])

Answers are the gateway's JSON objects, typed; fractions in them are floats that remember their digits (`ExactFloat`). A
refusal is raised as `Problem`, a server that does not answer as `Unreachable`.
"""

from aion_client.answers import (
    ABSENT,
    OPEN_STATUSES,
    CreatedQueue,
    Deployed,
    DeployedType,
    Description,
    Draining,
    Ended,
    Event,
    Failure,
    History,
    Json,
    Listed,
    ListOptions,
    LoadedVersion,
    Pending,
    PendingActivity,
    PendingTimer,
    Pins,
    Queue,
    Readiness,
    Records,
    Result,
    Routed,
    RunList,
    Signalled,
    Started,
    StartOptions,
    Unloaded,
)
from aion_client.client import DEFAULT_NAMESPACE, DEFAULT_URL, Client
from aion_client.http import Retry
from aion_client.json_text import ExactFloat, JsonText
from aion_client.problem import InvalidCall, PinnedBy, Problem, UnexpectedAnswer, Unreachable, VersionPinned

__all__ = [
    "ABSENT",
    "DEFAULT_NAMESPACE",
    "DEFAULT_URL",
    "OPEN_STATUSES",
    "Client",
    "CreatedQueue",
    "Deployed",
    "DeployedType",
    "Description",
    "Draining",
    "Ended",
    "Event",
    "ExactFloat",
    "Failure",
    "History",
    "InvalidCall",
    "Json",
    "JsonText",
    "ListOptions",
    "Listed",
    "LoadedVersion",
    "Pending",
    "PendingActivity",
    "PendingTimer",
    "PinnedBy",
    "Pins",
    "Problem",
    "Queue",
    "Readiness",
    "Records",
    "Result",
    "Retry",
    "Routed",
    "RunList",
    "Signalled",
    "StartOptions",
    "Started",
    "UnexpectedAnswer",
    "Unloaded",
    "Unreachable",
    "VersionPinned",
]
