"""Every limit of the system, with its reason. A queue, batch, frame, payload or wait without a line here is a defect."""

KIB = 1024
MIB = 1024 * KIB

PAYLOAD_BYTES_MAX = 256 * KIB
"""One input, signal or result: four fit into a decision, and a Kafka record stays far below the 1 MiB default."""

DECISION_BYTES_MAX = 800 * KIB
"""Events of one decision go into one record batch, below the broker's default `message.max.bytes` of 1 MiB."""

BATCH_BYTES_MAX = 900 * KIB
"""One append: a whole decision beside its `Progress`, still below 1 MiB."""

INPUTS_PER_BATCH_MAX = 500
"""Bounds the latency of the first input in a batch and what is lost when an append is refused."""

HISTORY_EVENTS_MAX = 50_000
HISTORY_BYTES_MAX = 64 * MIB
"""A longer run replays for too long; it is blocked and should have continued as new."""

TURN_REQUESTS_MAX = 1_000
TURN_REQUESTS_BYTES_MAX = 700 * KIB
"""Timers and activities that one turn of a run starts, and the bytes of what it starts and cancels, with what the history adds
to each: they are one decision."""

ACTIVITY_CLOSE_MS = 7 * 24 * 3_600_000
"""An activity takes no longer, its retries included, if the run does not say otherwise."""

PENDING_SIGNALS_MAX = 10_000
"""Signals a run was not yet given; more means nobody reads them, and the run's next turn must stay bounded."""

QUEUES_LOOK_MIN_MS = 500
QUEUES_LOOK_MAX_MS = 5_000
"""Between two looks at which task queues there are: at most so often while runs name unknown ones, at least so often."""

QUEUES_MAX = 1_000
"""Task queues of a cluster: each is a topic whose partitions brokers keep open, and every executor looks at all of them."""

HEARTBEAT_BYTES_MAX = KIB
"""Details of a heartbeat: they stand in the run's state, which is written with every batch that touches it."""

WAITS_MAX = 2_000
"""Timers and activities a run may have open: its state stays below 1 MiB."""

PENDING_SHOWN_MAX = 100
"""Activities and timers, each, that a description of a run names; it tells how many there are."""

NAME_BYTES_MAX = 255
"""Workflow ids, workflow types, signal names, idempotency keys."""

COMMAND_ID_BYTES_MAX = 512
"""A namespace and a name, with room for what tells where a command comes from."""

REASON_BYTES_MAX = 4 * KIB
"""Messages of failures and refusals are cut here: they are for people."""

ARCHIVE_BYTES_MAX = 64 * MIB
ARCHIVE_INFLATED_BYTES_MAX = 256 * MIB
"""Counted while inflating: a ZIP's own sizes may lie."""

ARCHIVE_ENTRIES_MAX = 10_000
"""As many modules as fit into one package with room to spare; bounds what a directory of a hostile ZIP costs to read."""

MANIFEST_DEPTH_MAX = 64
"""Nesting of a manifest's JSON: deep enough for any schema, and far from every parser's own limit."""

PACKAGE_TABLE_ENTRIES_MAX = 2_000_000
"""Atoms, imports and exports of all modules of a package; a VM's own table ends at 1,048,576 different atoms."""

MODULE_CHUNKS_MAX = 256
"""Chunks of a .beam file: compilers write about twenty."""

CHUNK_BYTES_MAX = 512 * KIB
"""Pieces of archives in `aion.packages`, below `message.max.bytes`."""

PACKAGE_CHUNKS_MAX = 1_000
"""Pieces of one archive: the largest has 128 when they are full. What an unload deletes is one batch (BATCH_BYTES_MAX)."""

FRAME_BYTES_MAX = 4 * MIB
"""One frame between executor and VM; longer histories travel in several."""

TURN_WAIT_MS = 5
"""How long a batch waits for the turns of the runs it woke; slow runs never hold it longer."""

SENT_THROUGH_LAG_MS = 1_000
"""The sends watermark reaches the log within this time also when nothing else happens."""

REPLY_WAIT_MS = 30_000
"""How long a gateway waits for an answer before it says `unavailable`."""

WAIT_MS_MAX = 60_000
"""Longest wait for a result that one HTTP call may ask for."""

IN_FLIGHT_REQUESTS_MAX = 1_000
"""HTTP requests a gateway serves at once; more are `overloaded`."""

VM_READY_MS = 5_000
VM_PING_MS = 1_000
VM_PINGS_MISSED_MAX = 3
"""A VM that misses this many pings in a row is killed and started again."""

RESIDENT_RUNS_MAX = 25_000
"""Of one partition: about 3 KB each in a VM. Above it, those that waited longest leave; their next input replays them."""

RESIDENT_IDLE_MS = 600_000
"""A run that waited this long leaves the VM; its next input replays it."""

ALONE_STAY_MS = 10_000
"""A suspect that waits where it may go on by itself keeps its own VM for so long."""

VM_MEMORY_BYTES_MAX = 2 * 1024 * MIB
"""A VM that holds more is killed and comes again: binaries lie outside the heaps of runs, which have a limit of their own."""

DEATHS_IN_A_ROW_MAX = 3
DEATHS_APART_MS_MAX = 60_000
"""A run that was active at so many deaths of its VM, each soon after the one before, is blocked: it probably kills them. For
the last one it is in a VM of its own, so that no neighbour is blamed."""

RUN_HEAP_BYTES_MAX = 64 * MIB
"""Heap of one run's process; over it the run fails, its neighbours do not."""

GROUP_SESSION_MS = 6_000
"""Without a heartbeat for this long an executor's partitions go to others. Brokers refuse less than 6 s by default."""

RESTORE_CHUNK_RECORDS = 2_000
"""Records applied between two yields to the event loop: the group's heartbeat must not starve."""

STORE_WAITING_BYTES_MAX = 256 * KIB
"""Rows of a partition that are in the history and not yet in RocksDB: who is killed restores them, some 800 events."""

RUNS_CACHED_MAX = 10_000
"""Run states an owner keeps decoded beside RocksDB, per partition."""

CLUSTER_READ_MS = 20_000
"""The first record of `aion.catalog` must be readable within this time at a service's start."""

RESTART_BACKOFF_MIN_MS = 200
RESTART_BACKOFF_MAX_MS = 10_000
"""Wait of `aion-server dev` before it starts a dead service again: doubles from death to death."""

RESTART_HEALTHY_MS = 20_000
"""A service that ran for this long before it died starts again with the shortest wait."""

STOP_WAIT_MS = 20_000
"""How long a service may take to stop before `aion-server dev` kills it: a gateway drains, then answers what it has taken, then
closes (DRAIN_MS, HTTP_STOP_MS, and room)."""

PACKAGE_TYPES_MAX = 500
PACKAGE_WARNINGS_MAX = 100
PACKAGE_WARNING_BYTES_MAX = 512
PACKAGE_MANIFEST_BYTES_MAX = 512 * KIB
LOADED_VERSIONS_NAMED_MAX = 1_000
"""What a package brings into the catalog's records, and how many versions one refusal names: what one command writes to one
partition is one batch (BATCH_BYTES_MAX), else a deploy could never be answered and every later one would wait behind it."""

CATALOG_RETRY_MIN_MS = 100
CATALOG_RETRY_MAX_MS = 5_000
"""Wait of the elected catalog before it starts over after a failure: doubles while failures follow one another."""

PACKAGE_CHECK_TRIES_MAX = 2
"""A package whose modules cannot be checked for no fault that can be named (a VM that does not start, dies or is too slow) is
refused after so many tries: it must not hold up the deploys behind it."""

UPLOAD_KEPT_MS = 24 * 3_600_000
"""Chunks of an archive that no loaded version names are deleted when they are so old: no load of them is under way."""

SWEEP_EVERY_MS = 6 * 3_600_000
"""The catalog looks for such chunks so often: each time it reads all of `aion.packages`, a portion between two commands."""

SWEPT_CHUNKS_MAX = 1_000
"""Deleted in one transaction; so a command waits for no more."""

CATALOG_SILENT_POLLS_MAX = 600
"""Reads without any record, one after the other, before the catalog suspects its reader (a consumer can get stuck after a
broker's restart): a minute."""

KAFKA_REQUEST_MS = 5_000
"""One request to a broker; then the connection is given up."""

KAFKA_CONNECT_MS = 2_000
"""A broker that does not greet within this time hangs; who leads may have changed meanwhile."""

KAFKA_SILENCE_MS = 1_000
"""A leader that does not answer for so long may lead no more: others are asked."""

KAFKA_LEAD_MS = 500
"""A question that any broker can answer goes to the next one when the one before has been silent for so long."""

APPEND_MS = 20_000
"""An append, send or commit without an acknowledgement for this long is `Unavailable`: its outcome is unknown. A broker that
died counts as alive for 9 s by default (`broker.session.timeout.ms`), 11 s if it was the controller; its copies stand still."""

BATCHES_PER_REQUEST_MAX = 64
"""Record batches of one produce request: of BATCH_BYTES_MAX each they stay below the 100 MB that brokers take at once."""

KAFKA_CLOSE_MS = 2_000
"""Closing a client never waits longer, also when the brokers are gone."""

FETCH_WAIT_MS = 500
"""A long-poll that finds nothing. Below KAFKA_SILENCE_MS, for its leader is not silent."""

FETCH_GIVE_UP_MS = 100
"""A poll in which a partition is missing blocks its connection so long, then both are given up: no assignment, seek or resume
waits longer, and a burst of them costs ten connections a second."""

FETCH_BYTES_MAX = 8 * MIB
PARTITION_FETCH_BYTES_MAX = 2 * MIB
ANSWER_BYTES_MAX = 2 * FETCH_BYTES_MAX
"""Records a reader holds of one fetch, of all partitions together, and of one: two whole batches. Brokers go over it
by a batch."""

GROUP_REBALANCE_MS = 10_000
"""A group waits so long for a member whose session lives but which does not join again."""

TRANSACTION_MS = 5_000
"""A transaction that a dead producer left open stalls its readers this long at most."""

SENDS_WAITING_MAX = 10_000
"""Records that wait in a sender for one partition; further sends wait for room."""

REQUEST_ENVELOPE_BYTES_MAX = 16 * KIB
"""What a JSON body may hold beside its payload: names and ids."""

JSON_DEPTH_MAX = 128
"""Nesting of JSON taken from outside: parsers recurse."""

HTTP_HEAD_BYTES_MAX = 64 * KIB
"""Target and headers of one request, with room for the longest ids, all escaped; the parser itself would take any size."""

HTTP_JOINED_BYTES_MAX = 64 * KIB
"""A larger piece of an answer is written at once, not joined with others, so that a slow reader is noticed."""

BODY_DRAINED_BYTES_MAX = 8 * MIB
"""Read and thrown away of a body that is too large, so that its sender sees the answer and not a broken connection."""

BODY_IDLE_MS = 30_000
"""A request's body of which nothing comes for so long is given up."""

OWNER_HTTP_MS = 5_000
OWNER_READY_MS = 2_000
"""An owner that has not answered by then, beyond the wait it was asked for, or whether it is ready, is asked again."""

OWNER_RETRY_MIN_MS = 20
OWNER_RETRY_MAX_MS = 500
"""Wait between two tries to reach an owner: doubles; a new owner ends it at once."""

TAIL_POLL_MS = 500
"""One long-poll of a follower of a topic."""

TAIL_RECORDS_MAX = 500
"""Records a follower applies between two yields to the event loop."""

TAIL_RETRY_MS = 500
"""Wait of a follower before it opens its reader again after a failure."""

TAIL_CHECK_MS = 5_000
"""A follower that got nothing for so long asks for the end of its partition: lag without progress means a stuck reader."""

TAIL_STUCK_MS = 60_000
"""Lag without progress for so long, in spite of new readers: the process is not healthy."""

CLOCK_SKEW_MS_MAX = 2_000
"""An owner whose clock differs more from the broker's refuses to own: times in histories would jump at take-overs."""

INPUTS_AT_ONCE_MAX = 100
"""Inputs a partition decides before others have their turn: with many partitions, ten milliseconds each are many already."""

INPUTS_WAITING_MAX = 2_000
"""Commands, or reports, a partition has read and not decided; reading them pauses above this."""

BATCHES_UNSENT_MAX = 64
"""Acknowledged batches whose replies are not: above this the partition decides nothing new."""

CLIENT_RETRY_MS = 30_000
CLIENT_WAIT_RETRY_MS = 600_000
"""A client repeats a call that failed for so long, if nobody says otherwise: it outlives the drain, the end and the next start
of a gateway (DRAIN_MS, HTTP_STOP_MS, LAST_ANSWERS_MS, and room). The other is of one that waits for a run to close."""

CLIENT_PAUSE_MIN_MS = 100
CLIENT_PAUSE_MAX_MS = 5_000
"""Between two tries of a call; it doubles."""

CLIENT_CONNECT_MS = 5_000
CLIENT_ANSWER_MARGIN_MS = 10_000
"""How much longer than the wait it asked for a client listens before it takes the connection for dead."""

READ_POLL_MS = 100
READ_SILENT_POLLS_MAX = 200
"""Reading a stretch of a topic that is there, but does not come for so many polls in a row, is given up: 20 s, as APPEND_MS."""

HISTORY_PAGE_EVENTS_MAX = 1_000
HISTORY_PAGE_BYTES_MAX = 4 * MIB
"""One answer of events; `next_seq` leads to the rest."""

RECLAIM_PAUSE_MIN_MS = 200
RECLAIM_PAUSE_MAX_MS = 10_000
"""Between two tries to own a partition that is still assigned; doubles from the first to the second."""

HTTP_STOP_MS = 10_000
"""Requests that run when a service is told to stop may take so long to finish."""

VM_IDLE_MS = 60_000
"""A VM in which no run was resident for so long is stopped; starting one again takes less than 100 ms."""

HISTORY_SLICE_EVENTS = 1_000
"""A longer history is read in slices before its run is woken: 20 ms each, between which everything else goes on."""

OWNERS_ANNOUNCE_MS = 30_000
"""Owners say so often where they are."""

COMMAND_BYTES_MAX = 512 * KIB
"""A record of `aion.commands` above this is none of ours: a payload and its ids take less."""

REPORT_BYTES_MAX = 900 * KIB
"""A record of `aion.results` above this is none of ours. A result over the limit of payloads is read, to say so to the run."""

CANCEL_GRACE_MS = 60_000
"""A run that was asked to cancel may clean up for so long; then it is ended."""

RUN_TIMEOUT_MS_MAX = 10 * 365 * 24 * 3_600_000
"""Ten years: longer is a mistake of the unit."""

PINS_NAMED_MAX = 100
"""Of one refusal, and of one partition's report."""

PINS_WAIT_MS = 10_000
"""An owner that has not reported by then what pins a version counts as silent: the version is kept."""

PARTITIONS_NAMED_MAX = 20
"""Of one refusal: enough to see which executor is gone."""

PARKED_STARTS_MAX = 1_000
"""Starts of one partition that wait for the verdict on their version; more are `overloaded`."""

DEAD_LETTER_BYTES_MAX = 512 * KIB
"""Key and value of a record that could not be used, as far as its dead letter holds them: it must fit into a decision."""

ANSWERS_KEPT_MS = 15 * 24 * 3_600_000
"""A repeat of a command gets the first answer for so long; clients that repeat later are decided anew."""

INPUTS_KEPT_MS = 7 * 24 * 3_600_000
"""Commands whose decisions are in the history stay readable for so long, for people; then the owner deletes them."""

RECORDS_PER_OWNERSHIP_MAX = 2**30
"""Records one producer epoch may append: sequence numbers end at 2^31, so the ownership is renewed long before."""

QUERY_MS_MAX = 10_000
"""A query that has not been answered by then is given up."""

QUERIES_WAITING_MAX = 256
"""Queries of one VM without an answer yet: each holds arguments of up to a payload, and few run at once."""

LIST_SCAN_RUNS_MAX = 2_000
"""Runs that one call to an owner looks at for a list, whether they match or not: the loop goes on between two calls."""

LIST_PAGE_MAX = 1_000
LIST_PAGE_RUNS = 100
"""Runs in one answer: at most, and when nobody says how many."""

LIST_ROUNDS_MAX = 8
"""Times that one page of a list asks the owners: a filter that hardly anything passes gives short pages, not slow ones."""

DRAIN_MS = 2_000
"""A gateway that is told to stop refuses new work for so long before it ends, so that whoever routes to it notices."""

DRAIN_MS_MAX = 600_000
"""What that may be set to: balancers that look once in minutes are none."""

LAST_ANSWERS_MS = 8_000
"""After that a gateway that ends answers what it has taken within this time, if only with `unavailable`: before the server
under it cuts connections off (HTTP_STOP_MS)."""

DEADLINES_AHEAD_MS = 600_000
"""Deadlines nearer than this stand in memory; later ones in the store only, so that a million of them cost nothing."""

ANSWERS_FORGOTTEN_MAX = 2_000
"""Old answers that a partition drops at once, every few seconds: a pause of some milliseconds."""

TRIM_MS = 3_600_000
"""Owners look so often for old inputs to delete."""

GC_ALLOCATIONS = 50_000
"""Objects made and not dropped before Python looks for cycles among them: a few MB."""

INGRESS_RECORDS_MAX = 500
"""Records of `aion.ingress` that are forwarded together; one that follows waits for their acknowledgement."""

INGRESS_HEADERS_BYTES_MAX = 16 * KIB
"""Of a record of `aion.ingress`: traces and the like have room."""

INGRESS_READ_MS = 200
"""A gateway looks so often whether partitions of `aion.ingress` came or went, or whether it drains."""

INGRESS_RETRY_MS = 500
"""Pause after something of the way from `aion.ingress` to `aion.commands` did not work."""

INGRESS_LAG_MS = 5_000
"""How often the lag is measured. A reader that has not moved for so long although there is something is replaced."""
