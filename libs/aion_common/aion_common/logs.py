"""Logs: one JSON object per line on stderr. A short constant message, and fields for everything that varies.

Code says `logger = structlog.get_logger()` at its top and `logger.info("partition owned", partition=3)`. What libraries
log through the standard library comes out in the same form, from `warning` on. Payloads are never logged. The core does
not log: its events are the log.
"""

import logging
import sys
from collections.abc import Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LIBRARIES = ("aiokafka", "asyncio", "httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access")
"""Their informative chatter is about themselves; run uvicorn with `log_config=None` so that it keeps to this."""


def configure_logs(level: str, *, service: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (default stderr) as JSON lines.

    `level` is one of debug, info, warning, error. Every line carries `service`. Repeating it replaces the former set-up.
    """
    target = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_fields(service), structlog.processors.format_exc_info, _as_json()],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    foreign = logging.StreamHandler(target)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_fields(service), structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _as_json(),
            ],
        )
    )
    logging.basicConfig(level=threshold, handlers=[foreign], force=True)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _fields(service: str) -> Sequence[Processor]:
    def add_service(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        fields["service"] = service
        return fields

    return [
        structlog.contextvars.merge_contextvars,
        add_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _as_json() -> Processor:
    return structlog.processors.JSONRenderer(default=_readable)


def _readable(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)
