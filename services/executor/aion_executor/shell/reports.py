"""What stands in `aion.results`."""

from functools import partial

from aion_common.errors import BadRecord
from aion_common.ids import workflow_key
from aion_common.kafka.api import Log, LogRecord
from aion_common.kafka.partitioner import partition_of
from aion_common.kafka.topics import Topics
from aion_common.limits import REPORT_BYTES_MAX
from aion_common.records.flaws import flaw_of_report
from aion_common.records.tasks import TaskReport
from aion_common.wire import UnknownSchema
from aion_executor.core.inputs import ResultInput
from aion_executor.processor import RESULTS
from aion_executor.shell.partition_loop import FromLog
from aion_executor.shell.reading import InputReader, decoded, unreadable


def report_reader(log: Log, topics: Topics, partitions: int) -> InputReader:
    """`partitions`: of results and history, in the whole cluster."""
    return InputReader(log, topics, RESULTS, partial(parse, partitions=partitions))


def parse(record: LogRecord, partition: int, partitions: int) -> FromLog:
    """See `reading.Parse`."""
    try:
        value = decoded(record.value, REPORT_BYTES_MAX)
    except UnknownSchema:
        raise
    except BadRecord as error:
        return unreadable(RESULTS, record, str(error))
    if not isinstance(value, TaskReport):
        return unreadable(RESULTS, record, f"not a report of a worker: {type(value).__name__}")
    flaw = flaw_of_report(value)
    if flaw is not None:
        return unreadable(RESULTS, record, flaw)
    right = partition_of(workflow_key(value.namespace, value.workflow_id), partitions)
    if right != partition:
        return unreadable(RESULTS, record, f"its workflow id belongs to partition {right}, as its task says")
    return ResultInput(offset=record.offset, report=value)
