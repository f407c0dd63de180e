"""The pure core: what a partition and a run are, what may be decided about them, and what a fact changes.

`decide` looks and proposes events; `apply` is the only door to state, the same live and on replay. No I/O, clock or
randomness is imported here; time and limits come in as `Facts`.
"""
