%% What a run is given is there before it is woken: who writes and who sends, in which order.
-module(aion_run_tests).
-include_lib("eunit/include/eunit.hrl").
-export([workflow/1]).

-define(INFO, #{namespace => <<"default">>, workflow_id => <<"w">>, run_id => <<"r">>}).
-define(OUTCOME, {completed, <<"1">>}).
-define(A, {aion_signal, <<"a">>, <<"1">>}).
-define(B, {aion_signal, <<"b">>, <<"2">>}).
-define(WHY, <<"why">>).

giving_test_() -> {foreach, fun tables/0, fun drop_tables/1, [
    fun what_is_looked_up_is_written_before_the_one_message/0,
    fun what_is_looked_up_is_written_before_the_first_of_several_messages/0,
    fun several_messages_come_from_a_process_of_the_highest_priority_in_order/0,
    fun who_gives_waits_until_all_is_there/0,
    fun nothing_wakes_a_run_that_is_given_no_message/0,
    fun a_run_begins_when_it_is_told_to/0]}.

what_is_looked_up_is_written_before_the_one_message() ->
    Gifts = [{wake, [1]}, {ended, 1, ?OUTCOME}, {pend, ?WHY}],
    {Run, Events} = given(Gifts),
    ?assertEqual([{self(), ended}, {self(), cancel}, {self(), {aion_ended, [1]}}], Events),
    ?assertMatch([{_, _, ?OUTCOME}], ets:lookup(aion_results, {Run, 1})),
    ?assertMatch([{_, _, _, {pending, ?WHY}, _, _, _, _, _, _}], ets:lookup(aion_runs, Run)).

what_is_looked_up_is_written_before_the_first_of_several_messages() ->
    {_, Events} = given([?A, {wake, [1]}, {ended, 1, ?OUTCOME}, {raise, ?WHY}, {pend, ?WHY}]),
    ?assertMatch([ended, cancel, {priority, _}, ?A, {aion_ended, [1]}, {aion_cancelled, ?WHY}], [What || {_, What} <- Events]).

several_messages_come_from_a_process_of_the_highest_priority_in_order() ->
    {_, [{Spawner, Priority}, {First, ?A}, {Second, ?B}]} = given([?A, ?B]),
    ?assertEqual({self(), {priority, max}}, {Spawner, Priority}),
    ?assertEqual(First, Second),
    ?assertNotEqual(self(), First).

who_gives_waits_until_all_is_there() ->
    Signals = [{aion_signal, <<"a">>, integer_to_binary(N)} || N <- lists:seq(1, 10000)],
    Run = run(fun idle/0),
    ok = aion_run:give(Run, Signals),
    ok = aion_run:give(Run, [?B]),
    ?assertEqual({messages, Signals ++ [?B]}, process_info(Run, messages)),
    exit(Run, kill).

nothing_wakes_a_run_that_is_given_no_message() ->
    {_, Events} = given([{ended, 1, ?OUTCOME}, {pend, ?WHY}]),
    ?assertEqual([{self(), ended}, {self(), cancel}], Events).

a_run_begins_when_it_is_told_to() ->
    register(aion_host, self()),
    Run = spawn(aion_run, run, [?MODULE, workflow, self()]),
    until_waiting(Run),
    ?assertEqual({current_function, {aion_run, run, 3}}, process_info(Run, current_function)),
    ok = aion_rows:add(Run, 42, ?INFO),
    Run ! {aion_begin, [?A, {pend, ?WHY}, ?B]},
    ?assertEqual({begun, 42, {pending, ?WHY}, [?A, ?B]}, receive Told -> Told end),
    ?assertMatch({turn, Run, {completed, <<"1">>}}, receive End -> End end),
    unregister(aion_host).

%% Tells what it finds when it begins.
workflow(Test) ->
    {messages, Messages} = process_info(self(), messages),
    Test ! {begun, aion_rows:now(), aion_rows:take_cancel(), Messages},
    {ok, 1}.

tables() ->
    persistent_term:put(aion_result_bytes, 1000),
    ok = aion_rows:boot(),
    ok = aion_results:boot().

drop_tables(_) -> [true = ets:delete(Table) || Table <- [aion_runs, aion_results]].

%% A run that waits for its activity 1, and what happens when it is given this, in the order of time: who, and what it does.
given(Gifts) ->
    Run = run(fun() -> ok = aion_results:opened(1, activity), idle() end),
    Tracer = spawn_link(fun() -> note([]) end),
    [1 = erlang:trace_pattern(Function, true, []) || Function <- traced()],
    erlang:trace(self(), true, [send, call, set_on_spawn, strict_monotonic_timestamp, {tracer, Tracer}]),
    ok = aion_run:give(Run, Gifts),
    erlang:trace(self(), false, [all]),
    [erlang:trace_pattern(Function, false, []) || Function <- traced()],
    Delivered = erlang:trace_delivered(all),
    receive {trace_delivered, all, Delivered} -> ok end,
    Tracer ! {tell, self()},
    Noted = receive {noted, Events} -> lists:keysort(1, Events) end,
    exit(Run, kill),
    {Run, [{Who, What} || {_, Who, Did} <- Noted, What <- what(Run, Did)]}.

traced() -> [{aion_results, ended, 3}, {aion_rows, cancel, 2}, {erlang, spawn_opt, 2}].

what(Run, {send, Message, Run}) -> [Message];
what(_, {call, {erlang, spawn_opt, [_, Options]}}) -> [{priority, proplists:get_value(priority, Options, normal)}];
what(Run, {call, {_, Function, [Run | _]}}) -> [Function];
what(_, _) -> [].

note(Events) ->
    receive
        {trace_ts, Who, send, Message, To, Time} -> note([{Time, Who, {send, Message, To}} | Events]);
        {trace_ts, Who, call, Call, Time} -> note([{Time, Who, {call, Call}} | Events]);
        {tell, Test} -> Test ! {noted, Events}
    end.

%% A run's process with its row, that has begun and waits.
run(Body) ->
    Run = spawn(fun() -> receive go -> Body() end end),
    ok = aion_rows:add(Run, 1, ?INFO),
    Run ! go,
    until_waiting(Run),
    Run.

idle() -> receive never -> ok end.

%% Or until it has ended.
until_waiting(Run) ->
    case process_info(Run, [status, message_queue_len]) of
        [{status, waiting}, {message_queue_len, 0}] -> ok;
        undefined -> ok;
        _ -> erlang:yield(), until_waiting(Run)
    end.
