"""What a pool tells of its versions: how many VMs each has, and why one that is wanted is not there."""

from collections import Counter

import structlog

from aion_beam.packages import PackageKey
from aion_common.errors import BadPackage
from aion_common.ids import Version
from aion_common.metrics import VERSIONS_IN_TROUBLE, VMS

_log = structlog.get_logger(__name__)


class Condition:
    """Of one pool. Series of versions that have nothing to tell are removed."""

    def __init__(self) -> None:
        self._vms: Counter[Version] = Counter()
        self._troubles: dict[PackageKey, str] = {}

    def count_vm(self, version: Version, change: int) -> None:
        """One more, or one less."""
        self._vms[version] += change
        if self._vms[version]:
            VMS.labels(version).set(self._vms[version])
        else:
            del self._vms[version]
            VMS.remove(version)

    def failed(self, key: PackageKey, what: str, error: Exception, again_ms: int) -> None:
        """A try to get its package or VM; the next one follows after a pause."""
        kind = "package of no use here" if isinstance(error, BadPackage) else what
        _log.warning(kind, version=key.version, reason=str(error), again_ms=again_ms)
        self._troubles[key] = f"{kind}: {error}"
        VERSIONS_IN_TROUBLE.labels(key.version).set(1)

    def recovered(self, key: PackageKey) -> None:
        """It is there, or not wanted any more. Harmless to repeat."""
        if self._troubles.pop(key, None) is not None and all(other.version != key.version for other in self._troubles):
            VERSIONS_IN_TROUBLE.remove(key.version)

    def trouble(self, key: PackageKey) -> str | None:
        """What went wrong at the last try; None: nothing."""
        return self._troubles.get(key)
