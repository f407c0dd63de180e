"""Bytes <-> records: Avro single-object encoding, with the schemas in `schemas/` as the contract.

The only room that touches fastavro. `encode` and `decode` take the top-level records of `aion_common.records`;
`seal` is the executor's way to write a history record, whose chain covers the event's own bytes.
"""

from aion_common.wire.codec import UnknownSchema, decode, encode, is_encoded, learn
from aion_common.wire.history import SealedRecord, chain_of, event_bytes_of, next_chain, seal
from aion_common.wire.registry import is_schema, kept_schemas, schemas

__all__ = [
    "SealedRecord",
    "UnknownSchema",
    "chain_of",
    "decode",
    "encode",
    "event_bytes_of",
    "is_encoded",
    "is_schema",
    "kept_schemas",
    "learn",
    "next_chain",
    "schemas",
    "seal",
]
