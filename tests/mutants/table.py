"""Mechanism -> how it is switched off -> the tests that die. `before` stands once in `file`."""

from dataclasses import dataclass

_EXECUTOR = "services/executor/aion_executor/"
_CATALOG = "services/catalog/aion_catalog/"
_INGRESS = "services/gateway/aion_gateway/ingress/"
_KAFKA = "libs/aion_common/aion_common/kafka/"
_HOST = "erlang/apps/aion_host/src/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`tests`: below `tests/`; at least one must fail."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        name="fencing: a new owner appends with the epoch that it claimed",
        file=_EXECUTOR + "shell/ownership.py",
        before="appender = await log_.fenced_appender(history, partition, identity)",
        after="lowest = ProducerIdentity(producer_id=identity.producer_id, producer_epoch=0)\n"
        "    appender = await log_.fenced_appender(history, partition, lowest)",
        tests=("executor/test_ownership.py::test_old_owner_is_refused_from_the_new_epoch_on",),
    ),
    Mutant(
        name="fencing: a producer id that the broker forgot is fenced, too",
        file=_EXECUTOR + "shell/ownership.py",
        before="if known not in (-1, identity.producer_id):",
        after="if False:",
        tests=("executor/test_ownership.py::test_old_owner_is_refused_when_the_broker_forgot_its_producer_id",),
    ),
    Mutant(
        name="epoch check: a void record is passed over",
        file=_EXECUTOR + "restore.py",
        before="if not isinstance(record.event, OwnerEpoch) and record.owner_epoch != self.partition.owner_epoch:",
        after="if False:",
        tests=("executor/test_ownership.py::test_void_record_is_passed_over",),
    ),
    Mutant(
        name="contiguity check: a batch lies where it was expected",
        file=_EXECUTOR + "shell/partition_loop.py",
        before='assert base_offset == self.next_offset, "the history has one writer"',
        after="assert base_offset >= 0",
        tests=("executor/test_loop.py::test_batch_that_lies_elsewhere_than_expected_is_not_believed",),
    ),
    Mutant(
        name="sends after acknowledgement",
        file=_EXECUTOR + "shell/partition.py",
        before="            appended = await self.appender.append_next(self._sealed)\n",
        after="            records, in_flight = self._sealed(), self.loop._in_flight\n"
        "            assert in_flight is not None\n"
        "            self._owed.put_nowait(Owed(sends=tuple(in_flight.changes.sends), through=-1))\n"
        "            await asyncio.sleep(0.05)\n"
        "            appended = await self.appender.append(records)\n",
        tests=("executor/test_ownership.py::test_append_of_unknown_outcome_loses_and_doubles_nothing",),
    ),
    Mutant(
        name="courier: one request per broker is on its way",
        file=_KAFKA + "courier.py",
        before="                self._busy.add(node)\n",
        after="",
        tests=("kafka/test_courier.py::test_what_comes_while_a_request_is_on_its_way_leaves_with_the_next_and_is_sealed_then",),
    ),
    Mutant(
        name="courier: one batch of a partition per request",
        file=_KAFKA + "courier.py",
        before="return place not in request and len(request)",
        after="return len(request)",
        tests=("kafka/test_courier.py::test_batches_of_one_partition_keep_their_order",),
    ),
    Mutant(
        name="Progress carries answers",
        file=_EXECUTOR + "processor.py",
        before="answers=tuple(batch.answers)",
        after="answers=()",
        tests=("core/test_starts.py", "properties/test_fold_equals_live.py"),
    ),
    Mutant(
        name="observed_seq says what a turn was given",
        file=_EXECUTOR + "core/decide/turns.py",
        before="TurnEnded(observed_seq=turn.observed_seq",
        after="TurnEnded(observed_seq=run.seq",
        tests=("core/test_signals_and_turns.py::test_input_during_a_turn_is_observed_by_the_next_one",),
    ),
    Mutant(
        name="unload barrier: starts that name a closing version wait",
        file=_EXECUTOR + "core/decide/runs.py",
        before="if start.version is not None and is_closing(partition, namespace, start.version):",
        after="if False:",
        tests=("core/test_unload.py::test_start_that_names_a_closing_version_is_refused_when_it_is_gone",),
    ),
    Mutant(
        name="unload barrier: pins include what the log has not acknowledged yet",
        file=_EXECUTOR + "changes.py",
        before="return sorted(kept.union(entry for entry in added if entry.startswith(prefix)))",
        after="return sorted(kept)",
        tests=("core/test_unload.py::test_start_in_the_same_batch_as_the_marker_is_counted",),
    ),
    Mutant(
        name="unload: a verdict counts for its own attempt only",
        file=_EXECUTOR + "core/decide/catalog.py",
        before="partition.closing is not None and partition.closing.attempt == marker.attempt",
        after="partition.closing is not None",
        tests=("core/test_unload.py::test_verdict_on_another_attempt_says_nothing",),
    ),
    Mutant(
        name="unload: parked starts are kept in the history",
        file=_EXECUTOR + "core/apply/catalog.py",
        before="return replace(partition, parked=(*partition.parked, event.offset))",
        after="return partition",
        tests=("core/test_unload.py::test_parked_start_outlives_its_owner",),
    ),
    Mutant(
        name="flip transaction: all of a decision or nothing",
        file=_CATALOG + "shell/loop.py",
        before="await term.producer.commit("
        "[*writes_of(around.topics, around.cluster.partitions, state, decision, now_ms), *beside])",
        after="for write in [*writes_of(around.topics, around.cluster.partitions, state, decision, now_ms), *beside]:\n"
        "        await term.producer.commit([write])",
        tests=("catalog/test_catalog_loop.py::test_a_transaction_that_failed_leaves_nothing_and_is_decided_again",),
    ),
    Mutant(
        name="flip transaction: the marker is in every partition",
        file=_CATALOG + "shell/transaction.py",
        before="for partition in range(command_partitions)",
        after="for partition in range(1)",
        tests=("catalog/test_catalog_loop.py", "catalog/test_unload_loop.py"),
    ),
    Mutant(
        name="seen ids: a repeat gets the first answer",
        file=_EXECUTOR + "processor.py",
        before="if (reply := changes.answer(command.command_id)) is not None:",
        after="if (reply := changes.answer(command.command_id)) is not None and not reply:",
        tests=("core/test_starts.py::test_repeat_gets_the_first_answer",),
    ),
    Mutant(
        name="store identity: a store of another log is rebuilt",
        file=_EXECUTOR + "shell/ownership.py",
        before="is_ours = restored is not None and await _is_of_this_log(claimant, partition, restored)",
        after="is_ours = restored is not None",
        tests=("executor/test_ownership.py::test_store_of_another_log_is_rebuilt",),
    ),
    Mutant(
        name="clock guard: a wrong clock does not own",
        file=_EXECUTOR + "shell/ownership.py",
        before="if not earliest <= appended.timestamp_ms <= latest:",
        after="if False:",
        tests=("executor/test_ownership.py::test_owner_with_a_wrong_clock_refuses_to_own",),
    ),
    Mutant(
        name="renewal before sequence numbers end",
        file=_EXECUTOR + "shell/partition.py",
        before="if self._appended_records >= RECORDS_PER_OWNERSHIP_MAX:",
        after="if False:",
        tests=("executor/test_upkeep.py::test_ownership_is_renewed_before_sequence_numbers_end",),
    ),
    Mutant(
        name="trim: nothing that is not decided",
        file=_EXECUTOR + "shell/executor.py",
        before="before = decided if young is None else min(decided, young)",
        after="before = await log_.end_offset(topic, partition)",
        tests=("executor/test_upkeep.py::test_old_commands_that_are_not_decided_stay",),
    ),
    Mutant(
        name="time does nothing before the backlog is decided",
        file=_EXECUTOR + "shell/partition_loop.py",
        before="return self.decided.commands_next < self.dues_from or self.decided.results_next < self.results_from",
        after="return self.decided.results_next < self.results_from",
        tests=("core/test_endings.py",),
    ),
    Mutant(
        name="no run is ended before its time",
        file=_EXECUTOR + "core/apply/runs.py",
        before="record.recorded_at + event.run_timeout_ms",
        after="record.recorded_at + event.run_timeout_ms - 1",
        tests=("core/test_endings.py",),
    ),
    Mutant(
        name="activities: the report of an old attempt is dropped",
        file=_EXECUTOR + "core/decide/activities.py",
        before="is_present = known is not None and known.task_at is not None and known.attempt == report.attempt",
        after="is_present = known is not None and known.task_at is not None",
        tests=("core/test_activities.py::test_a_result_counts_once_and_only_for_the_attempt_that_is_waited_for",),
    ),
    Mutant(
        name="activities: a report counts while its attempt is out only",
        file=_EXECUTOR + "core/decide/activities.py",
        before="is_present = known is not None and known.task_at is not None and known.attempt == report.attempt",
        after="is_present = known is not None and known.attempt == report.attempt",
        tests=("core/test_activities.py::test_a_result_counts_once_and_only_for_the_attempt_that_is_waited_for",),
    ),
    Mutant(
        name="timers: each fires when its own time has come",
        file=_EXECUTOR + "core/decide/due.py",
        before=" for timer, fire_at in run.timers.items() if fire_at <= facts.now_ms)",
        after=" for timer, fire_at in run.timers.items())",
        tests=("core/test_activities.py::test_time_that_ends_an_attempt_does_not_hurry_a_timer",),
    ),
    Mutant(
        name="timers: none fires before its time",
        file=_EXECUTOR + "core/decide/turns.py",
        before="fire_at=facts.now_ms + delay_ms",
        after="fire_at=facts.now_ms + delay_ms - 1",
        tests=("core/test_activities.py::test_a_timer_fires_when_its_time_has_come_and_not_before",),
    ),
    Mutant(
        name="activities: no time-out before its time",
        file=_EXECUTOR + "core/activities.py",
        before="_sooner(first, alive_at + limits.heartbeat_ms, TimeoutKind.HEARTBEAT)",
        after="_sooner(first, alive_at + limits.heartbeat_ms - 1, TimeoutKind.HEARTBEAT)",
        tests=("core/test_activities.py::test_a_worker_that_goes_silent_is_taken_for_dead",),
    ),
    Mutant(
        name="activities: silence counts from the start",
        file=_EXECUTOR + "core/activities.py",
        before="max(activity.started_at, activity.beat_at or 0)",
        after="activity.beat_at or activity.started_at",
        tests=("core/test_activities.py::test_silence_counts_from_the_start_when_a_heartbeat_came_before_it",),
    ),
    Mutant(
        name="time waits for all reports of the backlog, or that were read",
        file=_EXECUTOR + "shell/partition_loop.py",
        before="return self.decided.commands_next < self.dues_from or self.decided.results_next < self.results_from",
        after="return self.decided.commands_next < self.dues_from",
        tests=("core/test_activities.py::test_a_result_that_was_read_when_its_time_was_over_still_counts",),
    ),
    Mutant(
        name="heartbeats: those of a batch are there for what is due in it",
        file=_EXECUTOR + "processor.py",
        before="            _record_heartbeats(batch)\n",
        after="",
        tests=("core/test_activities.py::test_a_heartbeat_that_was_read_when_its_time_was_over_still_counts",),
    ),
    Mutant(
        name="reports that were read come before what is due",
        file=_EXECUTOR + "shell/partition_loop.py",
        before="if not self._results:\n            self._heard_until_ms",
        after="if True:\n            self._heard_until_ms",
        tests=("core/test_activities.py::test_a_result_that_was_read_when_its_time_was_over_still_counts",),
    ),
    Mutant(
        name="reports that come later do not hold up what is due",
        file=_EXECUTOR + "shell/partition_loop.py",
        before="elif self._heard_until_ms < self._deadlines.next_ms():",
        after="else:",
        tests=("core/test_activities.py::test_reports_without_end_do_not_hold_up_a_timer",),
    ),
    Mutant(
        name="queues: looked for before one is unknown",
        file=_EXECUTOR + "shell/partition.py",
        before="self.connect(self._turns)",
        after="self.connect(self)",
        tests=("executor/test_new_queues.py::test_an_activity_finds_the_queue_that_was_created_just_before",),
    ),
    Mutant(
        name="heartbeats: none of an attempt that has ended in the batch",
        file=_EXECUTOR + "heartbeats.py",
        before="present = tuple(beat for report, beat in newest if concerned(state.run(beat.run_id), report) is not None)",
        after="present = tuple(beat for _, beat in newest)",
        tests=("core/test_activities.py::test_a_heartbeat_of_an_attempt_that_ended_in_the_same_batch_is_not_recorded",),
    ),
    Mutant(
        name="heartbeats: an old attempt does not hide the present one",
        file=_EXECUTOR + "heartbeats.py",
        before="self._newest[attempt] = report, beat",
        after="self._newest[attempt[:-1]] = report, beat",
        tests=("core/test_activities.py::test_a_heartbeat_of_an_old_attempt_does_not_hide_that_of_the_present_one",),
    ),
    Mutant(
        name="tasks: who takes over sends what may not have left",
        file=_EXECUTOR + "restore.py",
        before="if len(changes.sends) > owed_before:",
        after="if False:",
        tests=("core/test_activities.py::test_a_task_that_had_not_left_is_sent_by_the_next_owner",),
    ),
    Mutant(
        name="tasks: what has left is not sent again",
        file=_EXECUTOR + "core/apply/ownership.py",
        before="sent_through=max(partition.sent_through, event.sent_through)",
        after="sent_through=partition.sent_through",
        tests=("core/test_activities.py::test_a_task_that_has_left_is_not_sent_again",),
    ),
    Mutant(
        name="queues: no task leaves for one that does not exist",
        file=_EXECUTOR + "core/sends.py",
        before="case ActivityScheduled(has_queue=True, activity=activity, input=payload):",
        after="case ActivityScheduled(activity=activity, input=payload):",
        tests=("core/test_activities.py::test_a_queue_that_does_not_exist_fails_the_attempt_and_is_heard_of_when_it_does",),
    ),
    Mutant(
        name="queues: the attempt fails at once",
        file=_EXECUTOR + "core/decide/turns.py",
        before="isinstance(one, ActivityScheduled) and not one.has_queue]",
        after="isinstance(one, ActivityScheduled) and one.has_queue is None]",
        tests=("core/test_activities.py::test_a_queue_that_does_not_exist_fails_the_attempt_and_is_heard_of_when_it_does",),
    ),
    Mutant(
        name="queues: who gives up in the same turn gets no failure",
        file=_EXECUTOR + "core/decide/turns.py",
        before="[one for one in unheard if one.activity not in given_up]",
        after="unheard",
        tests=("core/test_activities.py::test_an_activity_that_is_cancelled_in_the_turn_that_calls_it_is_none",),
    ),
    Mutant(
        name="heartbeats: what nobody waits for is passed over",
        file=_EXECUTOR + "restore.py",
        before=" or _flaw_of_beats(changes, record)",
        after="",
        tests=("executor/test_ownership.py::test_records_that_no_owner_can_have_written_there_are_passed_over",),
    ),
    Mutant(
        name="ingress: forwarded before it is committed",
        file=_INGRESS + "bridge.py",
        before="            await self._send(sender, read)\n            await self._advance(reader, membership)",
        after="            await self._advance(reader, membership)\n            await self._send(sender, read)",
        tests=("gateway/test_ingress_bridge.py",),
    ),
    Mutant(
        name="ingress: a batch that was not acknowledged is forwarded again",
        file=_INGRESS + "bridge.py",
        before="                raise failure",
        after="                pass",
        tests=("gateway/test_ingress_bridge.py",),
    ),
    Mutant(
        name="ingress: a partition that came back is taken up where others left it",
        file=_INGRESS + "bridge.py",
        before=" | (self._taken_away & self._next.keys())",
        after="",
        tests=(
            "gateway/test_ingress_bridge.py::test_a_partition_that_was_away_for_a_moment_is_taken_up_where_the_others_left_it",
        ),
    ),
    Mutant(
        name="ingress: a drained gateway leaves",
        file=_INGRESS + "bridge.py",
        before="        while not drain.is_on:\n            if await",
        after="        while True:\n            if await",
        tests=("gateway/test_ingress_bridge.py::test_a_gateway_forwards_until_it_drains",),
    ),
    Mutant(
        name="ingress: a header name that is not UTF-8 is mended",
        file="libs/aion_common/aion_common/kafka/reader.py",
        before="mended(content), aborted",
        after="content, aborted",
        tests=("kafka/test_ingress.py::test_a_header_name_that_is_not_utf_8_disturbs_nobody",),
    ),
    Mutant(
        name="ingress: a refused command is a dead letter",
        file=_EXECUTOR + "processor.py",
        before="            _tell_refused(batch, command, rejection)\n",
        after="",
        tests=("core/test_ingress_refusals.py",),
    ),
    Mutant(
        name="ingress: overloaded is final where nobody hears it",
        file=_EXECUTOR + "changes.py",
        before="(is_overloaded and ingress_place_of(command_id) is None)",
        after="is_overloaded",
        tests=("core/test_ingress_refusals.py",),
    ),
    Mutant(
        name="brokers: another one confirms the end that a leader tells",
        file=_KAFKA + "client.py",
        before="await confirm_leader(self._client, place, leader)",
        after="pass",
        tests=("kafka/test_several_brokers.py::test_who_was_the_leader_is_not_believed_about_the_end",),
    ),
    Mutant(
        name="brokers: another one confirms that an offset is not in the log",
        file=_KAFKA + "reader.py",
        before="await confirm_leader(self._client, TopicPartition(self._topic, answer.partition), leader)",
        after="pass",
        tests=("kafka/test_several_brokers.py::test_who_was_the_leader_is_not_believed_that_an_offset_is_not_in_the_log",),
    ),
    Mutant(
        name="brokers: what comes late from an old leader is dropped",
        file=_KAFKA + "reader.py",
        before="assignment == self._assignment and offsets[answer.partition] == self._next[answer.partition]",
        after="assignment == self._assignment",
        tests=("kafka/test_late_answers.py::test_what_comes_late_from_an_old_leader_is_dropped",),
    ),
    Mutant(
        name="brokers: an address that hangs does not use up the time of the others",
        file=_KAFKA + "brokers.py",
        before="lead_s = limits.KAFKA_LEAD_MS / 1000 if left else None",
        after="lead_s = None",
        tests=("kafka/test_several_brokers.py",),
    ),
    Mutant(
        name="brokers: a silent leader is left when it leads no more",
        file=_KAFKA + "connection.py",
        before="patience.reschedule(asyncio.get_running_loop().time())",
        after="pass",
        tests=("kafka/test_late_answers.py",),
    ),
    Mutant(
        name="queues: an answer waits for a turn that is held",
        file=_EXECUTOR + "shell/partition.py",
        before="is_told = await self._turns.passed(activation)",
        after="is_told = True",
        tests=("executor/test_new_queues.py::test_an_answer_that_may_show_a_turn_that_is_held_waits_for_it",),
    ),
    Mutant(
        name="queues: an answer goes with the VM of a turn that is held",
        file=_EXECUTOR + "shell/partition.py",
        before="if not is_told:",
        after="if False:",
        tests=("executor/test_new_queues.py::test_an_answer_that_may_show_a_turn_that_is_held_goes_with_its_vm",),
    ),
    Mutant(
        name="queues: who waits for a turn that is held hears of its VM",
        file=_EXECUTOR + "shell/queue_check.py",
        before="            self._tell(activation, False)\n        self.taker.gone",
        after="        self.taker.gone",
        tests=("executor/test_new_queues.py::test_an_answer_that_may_show_a_turn_that_is_held_goes_with_its_vm",),
    ),
    Mutant(
        name="queues: nobody waits for a turn that is held when the ownership has ended",
        file=_EXECUTOR + "shell/partition.py",
        before="            self._turns.give_up()\n",
        after="",
        tests=("executor/test_new_queues.py::test_an_answer_that_may_show_a_turn_that_is_held_ends_with_the_ownership",),
    ),
    Mutant(
        name="queues: a new owner looks before it places what it owes",
        file=_EXECUTOR + "shell/partition.py",
        before="await self.queues.looked()",
        after="pass",
        tests=("executor/test_new_queues.py::test_a_new_owner_puts_a_task_that_it_owes_where_its_key_belongs",),
    ),
    Mutant(
        name="given: what a run looks up is there before its first message",
        file=_HOST + "aion_run.erl",
        before="give(Pid, Gifts) -> aion_giver:give(Pid, given(Pid, Gifts)).",
        after="give(Pid, Gifts) -> lists:foreach(fun(Gift) -> aion_giver:give(Pid, given(Pid, [Gift])) end, Gifts).",
        tests=("beam/test_erlang_units.py",),
    ),
    Mutant(
        name="given: several messages are sent by a process of the highest priority",
        file=_HOST + "aion_giver.erl",
        before="Room = [{priority, max}, ",
        after="Room = [",
        tests=("beam/test_erlang_units.py",),
    ),
    Mutant(
        name="given: several messages are not sent by the host",
        file=_HOST + "aion_giver.erl",
        before="give(Pid, Messages) ->\n",
        after="give(Pid, [Message | Rest]) when is_pid(Pid) ->\n    Pid ! Message,\n    give(Pid, Rest);\n"
        "give(Pid, Messages) ->\n",
        tests=("beam/test_erlang_units.py",),
    ),
    Mutant(
        name="given: the host waits until all of it is sent",
        file=_HOST + "aion_giver.erl",
        before="receive {'DOWN', Monitor, process, _, normal} -> ok end.",
        after="true = is_reference(Monitor),\n    ok.",
        tests=("beam/test_erlang_units.py",),
    ),
    Mutant(
        name="given: a run begins when it is told to",
        file=_HOST + "aion_run.erl",
        before="receive {aion_begin, Gifts} -> [self() ! Message || Message <- given(self(), Gifts)] end",
        after="receive {aion_begin, Gifts} -> [self() ! Message || Message <- given(self(), Gifts)] after 0 -> ok end",
        tests=("beam/test_erlang_units.py",),
    ),
)
