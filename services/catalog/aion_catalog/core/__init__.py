"""The pure half of the catalog: state, decisions and how events change state.

No I/O, no clock, no randomness: whatever the core may not look up comes in as `Facts`.
"""
