"""Every metric of the services, in one list. Names end in their unit; counters are per process.

The room that sees a thing counts it; nothing is computed from these inside the system.
"""

from prometheus_client import Counter, Histogram

VOID_RECORDS = Counter("aion_history_void_records_total", "Records of an owner epoch that was not the newest one.")
SKIPPED_RECORDS = Counter("aion_skipped_records_total", "Input records that could not be used.", ["topic"])
VM_DEATHS = Counter("aion_vm_deaths_total", "Erlang VMs that ended without being asked to.")
STORE_REBUILDS = Counter("aion_store_rebuilds_total", "Stores deleted and rebuilt from the history topic.")
APPENDS = Counter("aion_history_appends_total", "Acknowledged batches in the history topic.")
BATCH_RECORDS = Histogram(
    "aion_history_batch_records",
    "Records in one acknowledged batch.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000),
)
