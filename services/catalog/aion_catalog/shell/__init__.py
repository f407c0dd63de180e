"""The half of the catalog that touches the world: reading packages, one transaction per command, the elected loop."""

PARTITION = 0
"""Of every topic of the catalog: they have one."""
