"""What stands in `aion.commands`."""

from functools import partial

from aion_common.errors import BadRecord
from aion_common.ids import workflow_key
from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import REPLY_PARTITIONS, Topics
from aion_common.limits import COMMAND_BYTES_MAX
from aion_common.records.commands import CatalogMarker, Command
from aion_common.records.flaws import flaw_of
from aion_common.wire import UnknownSchema
from aion_executor.core.inputs import CommandInput, MarkerInput
from aion_executor.processor import COMMANDS
from aion_executor.shell.partition_loop import FromLog
from aion_executor.shell.reading import InputReader, decoded, unreadable


def command_reader(log: Log, topics: Topics, partitions: int) -> InputReader:
    """`partitions`: of commands and history, in the whole cluster."""
    return InputReader(log, topics, COMMANDS, partial(parse, partitions=partitions))


def parse(record: LogRecord, partition: int, partitions: int) -> FromLog:
    """The input a record is that stands in this one of so many partitions. Raises UnknownSchema; whatever else is not ours
    becomes a dead letter."""
    try:
        value = decoded(record.value, COMMAND_BYTES_MAX)
    except UnknownSchema:
        raise
    except BadRecord as error:
        return unreadable(COMMANDS, record, str(error))
    if not isinstance(value, Command | CatalogMarker):
        return unreadable(COMMANDS, record, f"not a command: {type(value).__name__}")
    flaw = flaw_of(value) or _flaw_of_place(value, partition, partitions)
    if flaw is not None:
        return unreadable(COMMANDS, record, flaw)
    if isinstance(value, Command):
        return CommandInput(offset=record.offset, command=value)
    return MarkerInput(offset=record.offset, marker=value)


def _flaw_of_place(value: Command | CatalogMarker, partition: int, partitions: int) -> str | None:
    """What is wrong with where the record stands, and where its answer is to go."""
    reply_partition = getattr(value if isinstance(value, Command) else value.body, "reply_partition", None)
    if reply_partition is not None and not 0 <= reply_partition < REPLY_PARTITIONS:
        return f"there is no reply partition {reply_partition}"
    if isinstance(value, Command):
        right = partition_of(workflow_key(value.namespace, value.workflow_id), partitions)
        if right != partition:
            return f"its workflow id belongs to partition {right}: producers must partition as Java's default does (murmur2)"
    return None
