"""Settings of the services: `AION_*` environment variables, which flags of `aion-server` override.

One flat value, parsed once at the border and passed inward. A key that nobody reads is an error, because a misspelt
setting that is silently ignored costs an evening. `AION_URL` belongs to the client, `AION_TEST_*` to the tests.
"""

import difflib
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aion_common import limits
from aion_common.errors import AionError
from aion_common.kafka.queues import QUEUE_PARTITIONS_MAX, QUEUE_PATTERN, is_queue_name

PREFIX = "AION_"
PARENT_PID = "AION_PARENT_PID"
"""Set by a supervisor for its children: they end when this process is gone. Not a setting, see `service`."""

FOREIGN_KEYS = frozenset({PARENT_PID, "AION_URL", "AION_NAMESPACE"})
TESTS_PREFIX = "AION_TEST_"


class WrongSettings(AionError):
    """A setting is unknown or its value cannot be used; the message names the key and what is expected."""


def checked_bootstrap(text: str) -> str:
    """The same. Raises ValueError for what is no list of brokers."""
    for address in text.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("expected HOST:PORT[,HOST:PORT]")
    return text


@dataclass(frozen=True, slots=True)
class QueueAsked:
    """A task queue that shall be there. `partitions` None: as many as commands have, or those it has already."""

    name: str
    partitions: int | None


def _queues(given: object) -> tuple[QueueAsked, ...]:
    """From `NAME[:PARTITIONS],...`, or several texts of one each."""
    texts = given.split(",") if isinstance(given, str) else given
    assert isinstance(texts, Sequence), "a flag that may be repeated is a list"
    return tuple(_queue(str(text).strip()) for text in texts)


def _queue(text: str) -> QueueAsked:
    name, colon, number = text.partition(":")
    if not is_queue_name(name):
        raise ValueError(f"expected NAME[:PARTITIONS], names being {QUEUE_PATTERN}")
    if colon and not (re.fullmatch("[1-9][0-9]{0,3}", number) and int(number) <= QUEUE_PARTITIONS_MAX):
        raise ValueError(f"expected 1 to {QUEUE_PARTITIONS_MAX} partitions behind the colon")
    return QueueAsked(name, int(number) if colon else None)


def host_name() -> str:
    """This machine's name, cut to what Kafka permits in a member id."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:200] or "localhost"


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What a service must be told. Flags come in as keyword arguments and win over the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bootstrap: Annotated[str, AfterValidator(checked_bootstrap)] = "127.0.0.1:9092"
    """Kafka brokers, HOST:PORT separated by commas."""
    topic_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = "aion."
    """Before every topic name and transactional.id: several clusters of Aion may share one of Kafka."""
    data_dir: Path = Path(".aion")
    """Caches of this one process; may be deleted while it is stopped."""
    http_host: str = "127.0.0.1"
    http_port: Port = 7600
    """The gateway's address."""
    catalog_id: Id = Field(default_factory=host_name)
    """The catalog's name in its group: unique in the cluster, the same after a restart."""
    catalog_http_host: str = "127.0.0.1"
    catalog_http_port: Port = 0
    """The catalog's own address, for health checks and metrics. Port 0: any free one."""
    executor_id: Id = Field(default_factory=host_name)
    """The executor's name in the consumer group: unique in the cluster, the same after a restart."""
    executor_http_host: str = "127.0.0.1"
    executor_http_port: Port = 0
    """The executor's own address, for gateways. Port 0: any free one."""
    session_timeout_ms: Annotated[int, Field(ge=100)] = limits.GROUP_SESSION_MS
    """Without a heartbeat for so long an executor's partitions go to others."""
    gateway_id: Id = Field(default_factory=host_name)
    drain_ms: Annotated[int, Field(ge=0, le=limits.DRAIN_MS_MAX)] = limits.DRAIN_MS
    """A gateway that is told to stop refuses new work for so long before it ends: longer than it takes to route around it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    partitions: Annotated[int, Field(ge=1, le=1024)] = 16
    """Of commands, results and history. Read by `init` only: fixed for the life of a cluster."""
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    """Copies of every topic. Read by `init` only."""
    queues: Annotated[tuple[QueueAsked, ...], NoDecode, BeforeValidator(_queues)] = ()
    """Task queues beside `default`, NAME[:PARTITIONS] separated by commas. Read by `init` and `dev` only."""


def load_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from the environment and from flags; a flag that is None was not given. Raises `WrongSettings`."""
    refuse_unknown_keys(os.environ)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise WrongSettings("; ".join(_sentence(details) for details in error.errors())) from error


def refuse_unknown_keys(keys: Iterable[str]) -> None:
    """Raise `WrongSettings` for the first `AION_*` key that nobody reads, naming the nearest one that exists."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for key in sorted(keys):
        upper = key.upper()
        if not upper.startswith(PREFIX) or upper.startswith(TESTS_PREFIX) or upper in known | FOREIGN_KEYS:
            continue
        near = difflib.get_close_matches(upper, known, n=1, cutoff=0.0)
        raise WrongSettings(f"unknown setting {key} in the environment; the nearest known one is {near[0]}")


def _sentence(details: Mapping[str, object]) -> str:
    where = details["loc"]
    name = str(where[0]) if isinstance(where, tuple) and where else "settings"
    return f"setting {name} ({PREFIX}{name.upper()}): {details['msg']}, got {details['input']!r}"
