// Avro single-object encoding, with the schemas that are in `<prefix>schemas`: bytes <-> values.
//
// A value is C3 01, the fingerprint of the schema that wrote it (8 bytes, little endian), and the Avro body. The topic
// holds the schema's JSON text under those 8 bytes in hex. It is read once at the start, and again for a fingerprint that
// is not known.

import avro from "avsc";
import { randomUUID } from "node:crypto";

const MARK = Buffer.from([0xc3, 0x01]);
const BODY_AT = 10;

export class Wire {
  #kafka;
  #topic;
  #types = new Map(); // fingerprint in hex -> Avro type
  #newest = new Map(); // name of the record -> fingerprint in hex

  constructor(kafka, prefix) {
    this.#kafka = kafka;
    this.#topic = `${prefix}schemas`;
  }

  /** The value of these bytes, and the name of its record. Throws for what is none. */
  async decode(bytes) {
    if (!bytes || bytes.length < BODY_AT || !bytes.subarray(0, MARK.length).equals(MARK)) {
      throw new Error("not a single-object encoded Avro value");
    }
    const fingerprint = bytes.toString("hex", MARK.length, BODY_AT);
    if (!this.#types.has(fingerprint)) await this.learn();
    const type = this.#types.get(fingerprint);
    if (!type) throw new Error(`unknown schema ${fingerprint}`);
    return { name: type.name, value: type.fromBuffer(bytes.subarray(BODY_AT)) };
  }

  /** The bytes of a value of this record, by the schema that was published last. */
  encode(name, value) {
    const fingerprint = this.#newest.get(name);
    return Buffer.concat([MARK, Buffer.from(fingerprint, "hex"), this.#types.get(fingerprint).toBuffer(value)]);
  }

  /** Read the topic of schemas to its end. */
  async learn() {
    const admin = this.#kafka.admin();
    await admin.connect();
    const [{ low, high }] = await admin.fetchTopicOffsets(this.#topic);
    // A group of its own, which commits nothing: Kafka forgets it.
    const groupId = `plain-worker-schemas-${randomUUID()}`;
    const consumer = this.#kafka.consumer({ groupId });
    await consumer.connect();
    await consumer.subscribe({ topic: this.#topic, fromBeginning: true });
    let next = Number(low);
    await new Promise((done, failed) => {
      const doneAtEnd = () => next >= Number(high) && done();
      consumer.on(consumer.events.CRASH, ({ payload }) => failed(payload.error));
      consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
        next = Math.max(next, Number(payload.lastOffset) + 1);
        doneAtEnd();
      });
      consumer
        .run({ autoCommit: false, eachMessage: async ({ message }) => this.#add(message) })
        .catch(failed);
      doneAtEnd();
    });
    await consumer.disconnect();
    await admin.deleteGroups([groupId]).catch(() => {});
    await admin.disconnect();
  }

  #add(message) {
    if (message.value === null) return;
    const fingerprint = message.key.toString();
    const type = avro.Type.forSchema(JSON.parse(message.value.toString()), { registry: {} });
    this.#types.set(fingerprint, type);
    this.#newest.set(type.name, fingerprint);
  }
}
