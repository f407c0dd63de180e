"""The way from `aion.ingress`, where foreign producers write, to `aion.commands`, where only our services do.

`wishes` says what a record means, without I/O; `bridge` reads, forwards and commits.
"""
