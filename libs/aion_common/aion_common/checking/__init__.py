"""An independent reader of the public topics: does what stands there keep the promises of ARCHITECTURE.md?

It knows the records and their wire form, nothing of the executor. `run` judges one run by its records alone, `partition` a
whole history with the commands behind it, `catalog` and `answers` what a partition says of versions and to its clients;
these are pure. `reading` brings the records from Kafka. Called by `aion-server check`, `aion verify` and tests.
"""

from aion_common.checking.partition import PartitionHistory
from aion_common.checking.reading import check_cluster, check_run
from aion_common.checking.report import Report
from aion_common.checking.run import RunCheck, RunHistory

__all__ = ["PartitionHistory", "Report", "RunCheck", "RunHistory", "check_cluster", "check_run"]
