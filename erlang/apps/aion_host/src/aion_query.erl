%% Queries: Module:handle_query(Name, Arguments, Published), each in a process of its own, which the run does not notice.
%%
%% One process per VM keeps them: a query waits until its run's replay has caught up, few run at once, and one that is not
%% answered in time is given up, whether it waits or runs. It never computes. How many may wait is the Python side's affair.
-module(aion_query).
-export([start_link/1]).

%% Each may use as much heap as a run.
-define(AT_ONCE, 4).

-record(query, {
    activation :: aion_frames:activation(),
    target :: {Run :: pid(), module(), Name :: binary(), Arguments :: binary()},
    timer :: reference(),
    stage :: held | ready | {runs, pid()}
}).
-record(queries, {
    writer :: pid(),
    known = #{} :: #{aion_frames:ticket() => #query{}},
    ready = queue:new() :: queue:queue(aion_frames:ticket()),
    running = #{} :: #{pid() => aion_frames:ticket()}
}).

-spec start_link(Writer :: pid()) -> pid().
%% Takes {ask, Activation, Query, {Run, Module, Name, Arguments}, held | ready}, {caught_up, Activation} after a query that
%% is held, and {forget, Activation}: then there is no answer. Reports go to the writer.
start_link(Writer) ->
    spawn_opt(fun() -> loop(#queries{writer = Writer}) end,
              [link, {priority, high}, {message_queue_data, off_heap}]).

loop(Queries) ->
    receive Message -> loop(begin_ready(took(Message, Queries))) end.

took({ask, Activation, Number, Target, Stage}, #queries{known = Known} = Q) ->
    Timer = erlang:send_after(aion_limits:query_ms(), self(), {late, Number}),
    Query = #query{activation = Activation, target = Target, timer = Timer, stage = Stage},
    queued(Number, Query, Q#queries{known = Known#{Number => Query}});
took({caught_up, Activation}, #queries{known = Known} = Q) ->
    lists:foldl(fun release/2, Q, [{N, K} || {N, #query{activation = A, stage = held} = K} <- in_order(Known), A =:= Activation]);
took({forget, Activation}, #queries{known = Known} = Q) ->
    lists:foldl(fun dropped/2, Q, [N || {N, #query{activation = A}} <- in_order(Known), A =:= Activation]);
took({late, Number}, #queries{known = Known} = Q) when is_map_key(Number, Known) ->
    Ms = integer_to_binary(aion_limits:query_ms()),
    answered(Number, {error, {text, <<"the query was not answered within ", Ms/binary, " ms">>}}, Q);
took({'DOWN', _, process, Pid, Reason}, #queries{running = Running} = Q) when is_map_key(Pid, Running) ->
    answered(map_get(Pid, Running), answer_of(Reason), Q);
took(_, Q) -> Q.

%% Numbers ascend in the order in which they were asked.
in_order(Known) -> lists:sort(maps:to_list(Known)).

release({Number, Query}, #queries{known = Known} = Q) ->
    Ready = Query#query{stage = ready},
    queued(Number, Ready, Q#queries{known = Known#{Number => Ready}}).

queued(Number, #query{stage = ready}, #queries{ready = Ready} = Q) -> Q#queries{ready = queue:in(Number, Ready)};
queued(_, _, Q) -> Q.

answered(Number, {Verdict, Value}, #queries{known = Known, writer = Writer} = Q) ->
    #{Number := #query{activation = Activation}} = Known,
    Writer ! {out, {queried, Activation, Number, Verdict, Value}},
    dropped(Number, Q).

dropped(Number, #queries{known = Known, running = Running} = Q) ->
    {#query{timer = Timer, stage = Stage}, Others} = maps:take(Number, Known),
    erlang:cancel_timer(Timer),
    Q#queries{known = Others, running = ended(Stage, Running)}.

ended({runs, Pid}, Running) ->
    exit(Pid, kill),
    maps:remove(Pid, Running);
ended(_, Running) -> Running.

begin_ready(#queries{running = Running} = Q) when map_size(Running) >= ?AT_ONCE -> Q;
begin_ready(#queries{ready = Ready, known = Known, running = Running} = Q) ->
    case queue:out(Ready) of
        {empty, _} -> Q;
        {{value, Number}, Rest} when is_map_key(Number, Known) ->
            #{Number := #query{target = Target} = Query} = Known,
            Pid = spawn_query(Target),
            begin_ready(Q#queries{
                ready = Rest,
                known = Known#{Number => Query#query{stage = {runs, Pid}}},
                running = Running#{Pid => Number}
            });
        {_, Rest} -> begin_ready(Q#queries{ready = Rest})
    end.

spawn_query(Target) ->
    Heap = #{size => aion_limits:heap_words(), kill => true, error_logger => false},
    {Pid, _} = spawn_opt(fun() -> exit({aion_answer, answer(Target)}) end, [monitor, {max_heap_size, Heap}]),
    Pid.

answer_of({aion_answer, Answer}) -> Answer;
answer_of(killed) ->
    Bytes = integer_to_binary(aion_limits:heap_words() * erlang:system_info(wordsize)),
    {error, {text, <<"the query was killed, by other code or because its heap went over ", Bytes/binary, " bytes">>}};
answer_of(_) -> {error, {text, <<"the query's process was ended by an exit signal">>}}.

answer({Run, Module, Name, Arguments}) ->
    case erlang:function_exported(Module, handle_query, 3) of
        true -> verdict(aion_run:finish(Module, handle_query, [Name, Arguments, aion_rows:published(Run)]));
        false -> {error, {text, <<"the module ", (atom_to_binary(Module))/binary, " does not export handle_query/3">>}}
    end.

verdict({completed, Json}) -> {ok, Json};
verdict({failed, _, Message, _}) -> {error, {text, Message}}.
