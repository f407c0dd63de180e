// A worker for Aion with a stock Kafka client (kafkajs) and a stock Avro library (avsc). docs/workers.md has the contract.
//
//     node worker.js BOOTSTRAP QUEUE [PREFIX]
//
// It executes the tasks of each partition one after the other, partitions side by side, and an offset is committed only
// after its report was acknowledged: the tasks of a worker that dies are executed again by another one.

import { setTimeout as sleep } from "node:timers/promises";
import { hostname } from "node:os";
import kafkajs from "kafkajs";
import { Wire } from "./wire.js";

const PAYLOAD_BYTES_MAX = 256 * 1024;
const BEATS_PER_TIMEOUT = 3;

// What this worker can do: functions of the input and of { task, signal, details }. `signal` aborts when nobody waits for the
// result any more; `details(value)` is what the next attempt gets if this one fails.
const activities = {
  greet: async ({ name }) => ({ greeting: `Hello, ${name}!` }),

  // Counts to `to`, a number each `every_ms`; goes on where the attempt before stopped.
  count: async ({ to, every_ms }, { task, signal, details }) => {
    let n = task.heartbeat ? JSON.parse(task.heartbeat.data) : 0;
    for (; n < to; n += 1) {
      details(n);
      await sleep(every_ms, undefined, { signal });
    }
    return n;
  },

  refuse: async ({ why }) => {
    throw Object.assign(new Error(why), { kind: "refused", retryable: false });
  },
};

const [bootstrap, queue, prefix = "aion."] = process.argv.slice(2);
const name = `${hostname()}-${process.pid}`;
const kafka = new kafkajs.Kafka({
  clientId: "plain-worker",
  brokers: bootstrap.split(","),
  logLevel: kafkajs.logLevel.ERROR,
  retry: { retries: 100, maxRetryTime: 5_000 },
});
const wire = new Wire(kafka, prefix);
const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
const tasks = kafka.consumer({ groupId: `${prefix}workers.${queue}`, sessionTimeout: 6_000, heartbeatInterval: 1_500 });
const control = kafka.consumer({ groupId: `plain-worker-control-${name}-${Date.now()}` });
const running = new Set(); // { task, abort }

/** Report about a task: under its key, in the partition that it names. Resolves when all replicas have it. */
async function report(key, task, kind, fields = {}) {
  const { namespace, workflow_id, run_id, activity, attempt } = task;
  const body = { [`aion.tasks.${kind}`]: fields };
  const value = wire.encode("aion.tasks.TaskReport", { namespace, workflow_id, run_id, activity, attempt, worker: name, body });
  await producer.send({
    topic: `${prefix}results`,
    acks: -1,
    messages: [{ key, value, partition: Number(task.results_partition) }],
  });
}

const json = (value) => ({ content_type: "application/json", data: Buffer.from(JSON.stringify(value ?? null)) });

function failure(kind, message, retryable, details = null) {
  return { failure: { kind, message, details }, retryable };
}

/** Execute one task; the kind of the report and its fields. */
async function execute(task, controller, details) {
  const activity = activities[task.activity_type];
  if (!activity) {
    const known = Object.keys(activities).join(", ");
    return ["TaskFailed", failure("unknown_activity", `no activity ${task.activity_type}; there are ${known}`, true)];
  }
  try {
    const input = task.input ? JSON.parse(task.input.data) : null;
    const result = json(await activity(input, { task, signal: controller.signal, details }));
    if (result.data.length > PAYLOAD_BYTES_MAX) {
      return ["TaskFailed", failure("limit", `a result of ${result.data.length} bytes`, false)];
    }
    return ["TaskCompleted", { result }];
  } catch (error) {
    if (controller.signal.aborted) return ["TaskCancelled", {}];
    return ["TaskFailed", failure(error.kind ?? error.name, error.message, error.retryable ?? true)];
  }
}

async function work(key, task) {
  if (Date.now() >= task.close_by) return; // nobody waits any more
  const controller = new AbortController();
  const entry = { task, controller };
  running.add(entry);
  let newest = task.heartbeat;
  const beat = () => report(key, task, "TaskHeartbeat", { details: newest }).catch(() => {}); // the next one will do
  const beats = task.heartbeat_ms && setInterval(beat, task.heartbeat_ms / BEATS_PER_TIMEOUT);
  try {
    if (task.report_started) await report(key, task, "TaskStarted");
    const [kind, fields] = await execute(task, controller, (value) => (newest = json(value)));
    clearInterval(beats);
    await report(key, task, kind, fields);
  } finally {
    clearInterval(beats);
    running.delete(entry);
  }
}

/** Stop what nobody waits for: all activities of the run, or one, or one attempt of it. */
function cancel({ run_id, activity, attempt }) {
  for (const { task, controller } of running) {
    const isMeant = task.run_id === run_id && [null, task.activity].includes(activity) && [null, task.attempt].includes(attempt);
    if (isMeant) controller.abort();
  }
}

/** The value of a message if it is such a record; anything else is told and passed over. */
async function decoded(message, wanted) {
  try {
    const { name: found, value } = await wire.decode(message.value);
    if (found === wanted) return value;
    throw new Error(`a ${found}, not a ${wanted}`);
  } catch (error) {
    console.error(`offset ${message.offset} passed over: ${error.message}`);
    return null;
  }
}

await producer.connect();
await wire.learn();

await control.connect();
await control.subscribe({ topic: `${prefix}control`, fromBeginning: false });
await control.run({
  autoCommit: false,
  eachMessage: async ({ message }) => {
    const wish = await decoded(message, "aion.tasks.CancelTasks");
    if (wish) cancel(wish);
  },
});

await tasks.connect();
await tasks.subscribe({ topic: `${prefix}tasks.${queue}`, fromBeginning: true });
tasks.on(tasks.events.GROUP_JOIN, () => console.log("partitions taken"));
await tasks.run({
  autoCommitThreshold: 1,
  partitionsConsumedConcurrently: 64,
  eachMessage: async ({ message, heartbeat }) => {
    const task = await decoded(message, "aion.tasks.Task");
    if (!task) return;
    // A place in the group is lost without a sign of life, and an activity may take longer.
    const alive = setInterval(() => heartbeat().catch(() => {}), 1_500);
    try {
      await work(message.key, task);
    } finally {
      clearInterval(alive);
    }
  },
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await tasks.disconnect(); // waits for what runs
    await control.disconnect();
    await producer.disconnect();
    process.exit(0);
  });
}
