"""Between partitions and the VM pool: who began an activation gets what comes of it, in the words of the core."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from aion_beam.frames import Cancelled, CaughtUp, Completed, Diverged, Failed, QueryAnswer, RunInfo, Waiting
from aion_beam.frames import Outcome as FromVm
from aion_beam.pool import Activation as Vm
from aion_beam.pool import PackageKey, StartSpec, VmPool
from aion_beam.replay import input_of, is_input, replay_of
from aion_common.ids import Namespace, Version
from aion_common.records.common import json_payload
from aion_common.records.events import Failure, HistoryRecord, WaitKind
from aion_executor.core.inputs import Blocks, Cancels, Completes, Fails, Waits
from aion_executor.core.run import Run
from aion_executor.shell.residents import Activation, TurnEnd, TurnTaker


@dataclass(slots=True)
class Switchboard:
    """The pool's listener: hands what comes from VMs to the partition that began the activation."""

    _takers: dict[Activation, TurnTaker] = field(default_factory=dict)

    def connect(self, activation: Activation, taker: TurnTaker) -> None:
        """What comes of the activation goes to `taker`."""
        self._takers[activation] = taker

    def disconnect(self, activation: Activation) -> None:
        """Nobody wants to know any more."""
        self._takers.pop(activation, None)

    def on_outcome(self, activation: Activation, outcome: FromVm) -> None:
        """See `aion_beam.pool.PoolListener`."""
        if (taker := self._takers.get(activation)) is not None:
            taker.outcome(activation, turn_end_of(outcome))

    def on_gone(self, activations: Sequence[Activation], reason: str) -> None:
        """See `aion_beam.pool.PoolListener`."""
        by_taker: dict[int, tuple[TurnTaker, list[Activation]]] = {}
        for activation in activations:
            if (taker := self._takers.pop(activation, None)) is not None:
                by_taker.setdefault(id(taker), (taker, []))[1].append(activation)
        for taker, its in by_taker.values():
            taker.gone(its)


@dataclass(slots=True)
class PartitionVms:
    """The pool as one partition sees it. See `residents.Vms`. `is_loaded`: by any partition of this executor."""

    pool: VmPool
    switchboard: Switchboard
    is_loaded: Callable[[PackageKey], bool]
    taker: TurnTaker

    def warm(self, namespace: Namespace, version: Version) -> None:
        """See `residents.Vms`."""
        self.pool.warm(PackageKey(namespace=namespace, version=version))

    def unload(self, namespace: Namespace, version: Version) -> None:
        """See `residents.Vms`."""
        key = PackageKey(namespace=namespace, version=version)
        if not self.is_loaded(key):
            self.pool.stop_version(key)

    def trouble(self, namespace: Namespace, version: Version) -> str | None:
        """See `residents.Vms`."""
        return self.pool.trouble(PackageKey(namespace=namespace, version=version))

    def start_run(self, run: Run, records: Sequence[HistoryRecord]) -> Activation:
        """See `residents.Vms`."""
        return self._connected(self.pool.start_run(_key_of(run), _spec_of(run, records)))

    def start_alone(self, run: Run, records: Sequence[HistoryRecord]) -> Activation:
        """See `residents.Vms`."""
        return self._connected(self.pool.start_alone(_key_of(run), _spec_of(run, records)))

    def _connected(self, activation: Vm) -> Activation:
        self.switchboard.connect(activation, self.taker)
        return activation

    def deliver(self, activation: Activation, records: Sequence[HistoryRecord]) -> None:
        """See `residents.Vms`."""
        newest = records[-1]
        inputs = [input_of(record.event) for record in records if is_input(record.event)]
        self.pool.deliver(Vm(activation), newest.seq, newest.recorded_at, inputs)

    def query(self, activation: Activation, name: str, arguments: bytes) -> asyncio.Future[QueryAnswer]:
        """See `VmPool.query`."""
        return self.pool.query(Vm(activation), name, arguments)

    def kill(self, activation: Activation) -> None:
        """See `residents.Vms`."""
        self.switchboard.disconnect(activation)
        self.pool.kill(Vm(activation))


def _key_of(run: Run) -> PackageKey:
    return PackageKey(namespace=run.namespace, version=run.version)


def _spec_of(run: Run, records: Sequence[HistoryRecord]) -> StartSpec:
    info = RunInfo(
        namespace=run.namespace,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        version=run.version,
    )
    return StartSpec(workflow_type=run.workflow_type, info=info, replay=replay_of(records))


def turn_end_of(outcome: FromVm) -> TurnEnd | None:
    """What a VM reports, as the core takes it. None: a replay has caught up, nothing happened."""
    match outcome:
        case Waiting(kind=kind, name=name, requests=requests):
            waits = Waits(wait=WaitKind(kind), name=name)
            return TurnEnd(observed_seq=outcome.observed_seq, outcome=waits, requests=requests)
        case Completed(json=text):
            return TurnEnd(observed_seq=outcome.observed_seq, outcome=Completes(result=json_payload(text)))
        case Failed(kind=kind, message=message, details=details):
            shown = None if details is None else json_payload(details)
            failure = Failure(kind=kind, message=message, details=shown)
            return TurnEnd(observed_seq=outcome.observed_seq, outcome=Fails(failure=failure))
        case Cancelled(reason=reason):
            return TurnEnd(observed_seq=outcome.observed_seq, outcome=Cancels(reason=reason))
        case Diverged(expected=expected, found=found):
            return TurnEnd(observed_seq=0, outcome=Blocks(expected=expected, found=found))
        case CaughtUp():
            return None
        case _:
            assert_never(outcome)
