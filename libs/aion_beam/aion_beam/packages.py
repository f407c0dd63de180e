"""What the pool asks of packages, whoever keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aion_common.ids import Namespace, Version, WorkflowType


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageKey:
    """Packages, and so VMs, are per namespace and version."""

    namespace: Namespace
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What a VM needs of a package: `(name, beam)` of its modules; workflow type -> (module, function)."""

    modules: tuple[tuple[str, bytes], ...]
    entries: Mapping[WorkflowType, tuple[str, str]]


class PackageSource(Protocol):
    """Where packages come from."""

    async def fetch(self, key: PackageKey) -> Package:
        """The package. Raises Unavailable or BadPackage: asked again after either, with back-off. Its runs wait meanwhile: the
        catalog has loaded what it accepted, so a package that is of no use here is this machine's fault, not the run's."""
