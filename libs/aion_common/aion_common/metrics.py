"""Every metric of the services, in one list. Names end in their unit; counters are per process.

The room that sees a thing counts it; nothing is computed from these inside the system.
"""

from prometheus_client import Counter, Gauge, Histogram

VOID_RECORDS = Counter("aion_history_void_records_total", "Records of an owner epoch that was not the newest one.")
SKIPPED_RECORDS = Counter("aion_skipped_records_total", "Input records that could not be used.", ["topic"])
CATALOG_IS_ACTIVE = Gauge("aion_catalog_is_active", "1 in the catalog that decides commands, 0 in one that stands by.")
REPORTS_DROPPED = Counter("aion_reports_dropped_total", "Reports of workers that nobody waited for any more.")
VM_DEATHS = Counter("aion_vm_deaths_total", "Erlang VMs that ended without being asked to.")
VMS = Gauge("aion_vms", "Erlang VMs that run now, by package version; a version without any is not listed.", ["version"])
VERSIONS_IN_TROUBLE = Gauge(
    "aion_versions_in_trouble",
    "1 for a package version that runs need here and whose package or VM could not be had at the last try.",
    ["version"],
)
VM_BYTES_WAITING = Gauge("aion_vm_bytes_waiting", "Bytes of frames that the Erlang VMs have not taken yet.")
STORE_REBUILDS = Counter("aion_store_rebuilds_total", "Stores deleted and rebuilt from the history topic.")
APPENDS = Counter("aion_history_appends_total", "Acknowledged batches in the history topic.")
BATCH_RECORDS = Histogram(
    "aion_history_batch_records",
    "Records in one acknowledged batch.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000),
)

HTTP_REQUESTS = Counter("aion_http_requests_total", "Requests a gateway has served.", ["route", "method", "status"])
HTTP_SECONDS = Histogram(
    "aion_http_request_seconds",
    "From a request's head to the end of its answer, waits that it asked for included.",
    ["route", "method"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
HTTP_IN_FLIGHT = Gauge("aion_http_in_flight_requests", "Requests a gateway serves now.")
HTTP_OVERLOADED = Counter("aion_http_overloaded_total", "Requests a gateway refused because it was serving too many.")
ANSWERS_AWAITED = Gauge("aion_answers_awaited_commands", "Commands whose answers a gateway waits for.")

INGRESS_FORWARDED = Counter("aion_ingress_forwarded_total", "Records of aion.ingress that a gateway made commands of.")
INGRESS_REFUSED = Counter("aion_ingress_refused_total", "Records of aion.ingress that a gateway put into the dead letters.")
INGRESS_PARTITIONS = Gauge("aion_ingress_partitions", "Partitions of aion.ingress that a gateway forwards now.")
INGRESS_LAG = Gauge(
    "aion_ingress_lag_records", "Committed records of a partition of aion.ingress that are not forwarded yet.", ["partition"]
)
WORKER_TASKS = Counter(
    "aion_worker_tasks_total",
    "Tasks a worker has dealt with: how they ended, or that nobody waited.",
    ["activity_type", "outcome"],
)
WORKER_RUNNING = Gauge("aion_worker_running_tasks", "Tasks that a worker executes now.")
