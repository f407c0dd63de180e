%% The table aion_runs: a row for each run's process, through which the host, the run's SDK calls and its queries tell one
%% another what belongs in no mailbox. Public, as the run writes its own row: only the run while it runs, only the host while
%% it waits.
-module(aion_rows).
-export([add/3, at/2, boot/0, cancel/2, count/2, drop/1, info/0, newest_id/0, now/0, publish/1, published/1, raised/1,
         take_cancel/0, was_raised/1]).

%% Positions in a row: {Pid, Now, Info, Cancel, Published, Id, Started, Requests, Bytes, Each}.
-define(NOW, 2).
-define(INFO, 3).
-define(CANCEL, 4).                 % none | {pending | raised, Reason}
-define(PUBLISHED, 5).
-define(ID, 6).                     % of the newest timer or activity
-define(STARTED, 7).                % of the current turn: timers and activities
-define(REQUESTS, 8).               % of the current turn: those, and cancels
-define(BYTES, 9).                  % of the requests, without
-define(EACH, 10).                  % what the history adds to each

%% Of a record of the history, beside the ids of the run, which stand in it and in its key, and what the request itself holds.
-define(RECORD_BYTES, 115).

-spec boot() -> ok.
boot() ->
    aion_runs = ets:new(aion_runs, [named_table, public]),
    ok.

-spec add(pid(), NowMs :: integer(), map()) -> ok.
add(Pid, NowMs, Info) ->
    true = ets:insert(aion_runs, {Pid, NowMs, Info, none, undefined, 0, 0, 0, 0, each(Info)}),
    ok.

each(#{namespace := Namespace, workflow_id := WorkflowId, run_id := RunId}) ->
    ?RECORD_BYTES + 2 * (byte_size(Namespace) + byte_size(WorkflowId)) + byte_size(RunId).

-spec drop(pid()) -> ok.
drop(Pid) ->
    case ets:take(aion_runs, Pid) of
        [Row] when element(?ID, Row) > 0 -> aion_results:drop(Pid);
        _ -> ok
    end.

-spec at(pid(), NowMs :: integer()) -> ok.
%% The run is given inputs, the newest recorded at that time; its requests are counted from here. (Not from every turn's end:
%% a replay need not see a soft wait that no inputs followed.)
at(Pid, NowMs) ->
    ets:update_element(aion_runs, Pid, [{?NOW, NowMs}, {?STARTED, 0}, {?REQUESTS, 0}, {?BYTES, 0}]),
    ok.

-spec count(Ids :: 0 | 1, Bytes :: non_neg_integer()) -> {ok, aion_frames:id()} | {over, requests | bytes}.
%% Counts a request of the calling run, which has `Bytes` of its own. `Ids`: whether it starts something under a new id, which is
%% returned then. What is cancelled was started once, so its number is limited already.
count(Ids, Bytes) ->
    [Id, Started, Requests, Own, Each] = counted(Ids, 1, Bytes),
    case {Started > aion_limits:turn_requests(), Own + Requests * Each > aion_limits:turn_bytes()} of
        {false, false} -> {ok, Id};
        {Many, _} ->
            counted(-Ids, -1, -Bytes),
            {over, case Many of true -> requests; false -> bytes end}
    end.

counted(Ids, Requests, Bytes) ->
    try ets:update_counter(aion_runs, self(), [{?ID, Ids}, {?STARTED, Ids}, {?REQUESTS, Requests}, {?BYTES, Bytes}, {?EACH, 0}])
    catch error:badarg -> error(not_the_process_of_a_run)
    end.

-spec cancel(pid(), aion_frames:reason()) -> ok.
%% The run's next call that may wait is to raise.
cancel(Pid, Reason) ->
    ets:update_element(aion_runs, Pid, {?CANCEL, {pending, Reason}}),
    ok.

-spec take_cancel() -> {pending, aion_frames:reason()} | none.
%% Whether the calling run is to raise now.
take_cancel() ->
    case own(?CANCEL) of
        {pending, _} = Pending -> Pending;
        _ -> none
    end.

-spec raised(aion_frames:reason()) -> ok.
%% The calling run raises.
raised(Reason) ->
    true = ets:update_element(aion_runs, self(), {?CANCEL, {raised, Reason}}),
    ok.

-spec was_raised(term()) -> boolean().
%% Whether this is what was raised in the calling process on request.
was_raised(Reason) ->
    case ets:lookup(aion_runs, self()) of
        [Row] -> element(?CANCEL, Row) =:= {raised, Reason};
        [] -> false
    end.

-spec newest_id() -> non_neg_integer().
%% Of the timers and activities of the calling run; 0 before the first.
newest_id() -> own(?ID).

-spec now() -> integer().
now() -> own(?NOW).

-spec info() -> map().
info() -> own(?INFO).

-spec publish(term()) -> ok.
publish(Term) ->
    ets:update_element(aion_runs, self(), {?PUBLISHED, Term}) orelse error(not_the_process_of_a_run),
    ok.

-spec published(pid()) -> term().
%% What the run published last; `undefined` before, and when the run has ended.
published(Pid) ->
    case ets:lookup(aion_runs, Pid) of
        [Row] -> element(?PUBLISHED, Row);
        [] -> undefined
    end.

own(Position) ->
    try ets:lookup_element(aion_runs, self(), Position)
    catch error:badarg -> error(not_the_process_of_a_run)
    end.
