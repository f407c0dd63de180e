%% Finds runs that wait in a receive of their own: polls the status of every run whose turn has not ended.
%%
%% The host keeps such runs in the table aion_open as {Activation, Pid, Turn, Seen} and calls opened/1 after an insert. A
%% run is polled at once, again after a few yields, then less and less often. Two messages go to the host:
%% {polled, Activation, Turn, Mark} for each wait, {stuck, Activation, Turn} when the run has stayed in one for long.
%%
%% `Mark` and `Seen` are reduction counts. Looking at a process adds one reduction to it, running adds more, so two looks
%% at the same wait differ by at most one: that is how a run that went on and waits again is told from one that stayed.
-module(aion_poll).
-export([look/2, opened/1, start_link/1]).
-export_type([bell/0, mark/0]).

-define(YIELDS, 4).
-define(PAUSE_MS_MAX, 50).
-define(STUCK_MS, 1000).

-opaque bell() :: {atomics:atomics_ref(), pid()}.
-type mark() :: none | non_neg_integer().
-record(known, {
    turn :: non_neg_integer(),
    seen :: mark(),
    since :: integer(),           % when the wait `seen` was found
    told = false :: boolean(),    % that it is stuck
    looks = 0 :: non_neg_integer(),
    due :: integer()
}).

%% What the bell's two counters are.
-define(ASLEEP, 1).
-define(OPENED, 2).

-spec start_link(Host :: pid()) -> bell().
start_link(Host) ->
    Counters = atomics:new(2, []),
    {Counters, spawn_link(fun() -> sweep(Host, Counters, #{}) end)}.

-spec opened(bell()) -> ok.
%% A row was added to aion_open.
opened({Counters, Poller}) ->
    atomics:add(Counters, ?OPENED, 1),
    case atomics:exchange(Counters, ?ASLEEP, 0) of
        1 -> Poller ! wake, ok;
        0 -> ok
    end.

-spec look(pid(), mark()) -> busy | {same_wait, mark()} | {new_wait, mark()}.
%% How the process stands, compared with the wait in which it was seen last.
look(Pid, Seen) ->
    case process_info(Pid, [status, reductions, current_function]) of
        [{status, waiting}, {reductions, Mark}, {current_function, Function}] -> waits(Function, Seen, Mark);
        _ -> busy
    end.

%% Waiting for the answer of an output request is not a wait of the workflow.
waits({io, _, _}, _, _) -> busy;
waits(_, Seen, Mark) when Seen =/= none, Mark =< Seen + 1 -> {same_wait, Mark};
waits(_, _, Mark) -> {new_wait, Mark}.

sweep(Host, Counters, Known) ->
    Opened = atomics:get(Counters, ?OPENED),
    Now = erlang:monotonic_time(millisecond),
    Rows = [{A, visit(Row, maps:get(A, Known, none), Host, Now)} || {A, _, _, _} = Row <- ets:tab2list(aion_open)],
    pause(lists:min([infinity | [K#known.due - Now || {_, K} <- Rows]]), Opened, Counters),
    sweep(Host, Counters, maps:from_list(Rows)).

pause(Ms, _, _) when is_integer(Ms), Ms =< 0 -> erlang:yield();
pause(Ms, Opened, Counters) ->
    atomics:put(Counters, ?ASLEEP, 1),
    case atomics:get(Counters, ?OPENED) of
        Opened -> receive wake -> ok after Ms -> ok end;
        _ -> ok
    end,
    atomics:put(Counters, ?ASLEEP, 0),
    receive wake -> ok after 0 -> ok end.

visit({_, _, Turn, _} = Row, #known{turn = Turn, due = Due} = K, Host, Now) when Due =< Now -> poll(Row, K, Host, Now);
visit({_, _, Turn, _}, #known{turn = Turn} = K, _, _) -> K;
visit({_, _, Turn, Seen} = Row, _, Host, Now) ->
    poll(Row, #known{turn = Turn, seen = Seen, since = Now, due = Now}, Host, Now).

poll({Activation, Pid, Turn, _}, #known{looks = Looks} = K0, Host, Now) ->
    K = K0#known{looks = Looks + 1, due = Now + pause_ms(Looks)},
    case look(Pid, K#known.seen) of
        busy -> K;
        {new_wait, Mark} ->
            Host ! {polled, Activation, Turn, Mark},
            K#known{seen = Mark, since = Now, told = false};
        {same_wait, Mark} when Now - K#known.since >= ?STUCK_MS, not K#known.told ->
            Host ! {stuck, Activation, Turn},
            K#known{seen = Mark, told = true};
        {same_wait, Mark} -> K#known{seen = Mark}
    end.

pause_ms(Looks) when Looks < ?YIELDS -> 0;
pause_ms(Looks) -> min(?PAUSE_MS_MAX, 1 bsl min(Looks - ?YIELDS, 10)).
