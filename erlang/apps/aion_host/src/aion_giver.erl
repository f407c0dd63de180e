%% Sends a run several messages at once: no run executes in between. The host cannot: when its heap is large a garbage
%% collection takes it to another scheduler, in the middle of anything, and runs go on meanwhile. So a process of its own does,
%% of the highest priority, born with room for all it is given, so that it never collects; and the host waits for it, so that
%% what it gives next comes later.
-module(aion_giver).
-export([give/2]).

%% Beside the messages: its own calls.
-define(WORDS, 1000).

-spec give(pid(), [term()]) -> ok.
give(_, []) -> ok;
give(Pid, [Message]) ->
    Pid ! Message,
    ok;
give(Pid, Messages) ->
    Room = [{priority, max}, {min_heap_size, 2 * erts_debug:flat_size(Messages) + ?WORDS}],
    {_, Monitor} = spawn_opt(fun() -> all(Pid, Messages) end, [monitor | Room]),
    receive {'DOWN', Monitor, process, _, normal} -> ok end.

%% Makes no terms.
all(Pid, [Message | Rest]) ->
    Pid ! Message,
    all(Pid, Rest);
all(_, []) -> ok.
