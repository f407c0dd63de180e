"""Operating errors: each says by its type what the caller may do about it.

Refusals are values (`aion_common.records.replies.Rejection`), never exceptions; bugs are assertions.
"""


class AionError(Exception):
    """Base of all operating errors."""


class Unavailable(AionError):
    """Something needed is not reachable now; the outcome of what was tried is unknown, and trying again is right."""


class Fenced(AionError):
    """Another owner has taken over: give the partition up, drop what was not acknowledged, do not retry."""


class BadRecord(AionError):
    """A record cannot be read: count it, dead-letter it, go on."""


class BadPackage(AionError):
    """An archive was refused; the message says why in words for its author."""


class VmDied(AionError):
    """An Erlang VM ended or stopped answering. No run fails because of it: its runs are owed a replay."""


class WrongCluster(AionError):
    """The cluster is not the one this service was set up for; the message names both values. Not retried."""
