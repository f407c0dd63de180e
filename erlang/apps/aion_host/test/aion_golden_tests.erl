%% The golden frames, as this side reads and writes them. tests/contract/test_frames.py is the other side.
-module(aion_golden_tests).
-include_lib("eunit/include/eunit.hrl").

-define(GREEN, <<"grün"/utf8>>).
-define(SIGNAL, {aion_signal, ?GREEN, <<"{\"n\":1}">>}).
-define(SECOND, {3, 1700000000250, [?SIGNAL], [], {wait, 'receive', nil}}).
-define(LIVE, {70000, 1700000100000, [?SIGNAL, ?SIGNAL], [], live}).

read_test_() -> [{Name, ?_assertEqual([Order], aion_frames:decode(body(Name)))} || {Name, Order} <- orders()].

orders() ->
    [{"load", {load, 7, [{<<"order">>, <<"FOR1", 0>>}, {<<"order@lines">>, <<>>}], false}},
     {"check", {check, 300, [{<<"order">>, binary:copy(<<255>>, 300)}], true}},
     {"start", {start, #{activation => 1, module => <<"order">>, function => <<"run">>, argument => <<"null">>,
                         info => #{namespace => <<"default">>, workflow_id => <<"order-1">>,
                                   run_id => binary:copy(<<"ab">>, 16), workflow_type => <<"order">>,
                                   version => binary:copy(<<"0">>, 64)},
                         turns => [{1, 1700000000000, [], [], {wait, signal, ?GREEN}}, ?SECOND, ?LIVE], more => false}}},
     {"history", {history, 65536, [?SECOND, {70000, 1700000100000, [?SIGNAL], [], more}, ?LIVE], true}},
     {"deliver", {deliver, 1 bsl 33, {5, 1700000000000, [?SIGNAL], [], live}}},
     {"kill", {kill, 128}},
     {"deliver_cancel", {deliver, 1, {6, 1700000000000, [{aion_cancel, ?GREEN}, {aion_cancel, undefined}], [], live}}},
     {"deliver_results", {deliver, 1, {99, 1700000000000, results(), [], more}}},
     {"history_commands", {history, 1, [busy()], false}},
     {"ping", {ping, 0}},
     {"query", {query, 1, 300, ?GREEN, <<"{\"n\":1}">>}}].

results() ->
    [{ended, 4, fired},
     {ended, 3, {completed, <<"{\"n\":1}">>}},
     {ended, 5, {completed, <<"null">>}},
     {ended, 6, {failed, <<"declined">>, ?GREEN, <<"[7]">>}},
     {ended, 70000, {failed, <<"crash">>, <<"boom">>, nil}},
     {ended, 7, {timed_out, schedule_to_start}},
     {ended, 8, {timed_out, start_to_close}},
     {ended, 9, {timed_out, schedule_to_close}},
     {ended, 10, {timed_out, heartbeat}}].

busy() ->
    Recorded = [{timer, 2}, {cancel_timer, 2}, {activity, 3, ?GREEN, <<"default">>}, {cancel_activity, 3}],
    {9, 1700000000900, [{ended, 1, fired}], Recorded, {wait, result, <<"2 of 2 results">>}}.

write_test_() -> [{Name, ?_assertEqual(body(Name), frame(Report))} || {Name, Report} <- reports()].

reports() ->
    [{"ready", {ready, <<"25">>}},
     {"answer_ok", {answer, 300, ok, [{text, <<"25">>}, true, [{text, <<"order:run/1 calls erlang:now/0">>}]]}},
     {"answer_error", {answer, 7, error, {text, <<"the module order does not load: badfile">>}}},
     {"waiting_signal", {waiting, 1, 3, signal, ?GREEN, []}},
     {"waiting_receive", {waiting, 1, 3, 'receive', nil, []}},
     {"waiting_result", {waiting, 1, 3, result, <<"activity 2">>, requests()}},
     {"completed", {completed, 65536, 70000, <<"{\"total\":1.5}">>}},
     {"failed", {failed, 1, 3, error, <<"no stock">>, <<"\"no stock\"">>}},
     {"failed_limit", {failed, 1, 3, limit, <<"heap">>, nil}},
     {"cancelled", {cancelled, 1, 7, ?GREEN}},
     {"cancelled_bare", {cancelled, 1, 7, undefined}},
     {"queried", {queried, 1, 300, ok, <<"{\"n\":1}">>}},
     {"queried_failed", {queried, 1, 301, error, {text, <<"no such query">>}}},
     {"diverged", {diverged, 1, <<"the run waits in a receive">>, <<"the run completes">>}},
     {"caught_up", {caught_up, 1 bsl 33}},
     {"pong", {pong, 0}}].

requests() ->
    Options = #{attempts => 3, backoff => linear, initial => 10, max => 100, jitter => 0,
                non_retryable => [{text, <<"declined">>}, {text, ?GREEN}], schedule_to_start => 1, start_to_close => 2000,
                schedule_to_close => 70000, heartbeat => 500},
    [{timer, 1, 86400000}, {cancel_timer, 1}, {activity, 2, ?GREEN, <<"default">>, <<"{\"n\":1}">>, #{}},
     {activity, 3, <<"charge">>, <<"fast">>, <<"null">>, Options}, {cancel_activity, 3}].

%% The golden frame without its length.
body(Name) ->
    {ok, Hex} = file:read_file(filename:join(os:getenv("GOLDEN_FRAMES"), Name ++ ".hex")),
    <<Length:32, Body:Length/binary>> = binary:decode_hex(string:trim(Hex)),
    Body.

frame(Report) -> iolist_to_binary([<<16#91>>, aion_frames:encode(Report)]).
