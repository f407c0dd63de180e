"""The records that travel through topics: frozen data classes, one closed union per file, no logic.

A class here and the Avro record of the same name in `schemas/` describe the same thing; `aion_common.wire` turns one
into the other and refuses to start when they differ. This room imports no I/O, clock or randomness.
"""
