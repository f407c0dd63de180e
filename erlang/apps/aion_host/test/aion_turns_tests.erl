%% The rule of turns, without any process.
-module(aion_turns_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SOFT, {wait, 'receive', nil}).
-define(HARD, {wait, signal, <<"a">>}).
-define(A, {aion_signal, <<"a">>, <<"1">>}).
-define(B, {aion_signal, <<"b">>, <<"2">>}).
-define(CANCEL, {aion_cancel, <<"why">>}).
-define(DONE, {completed, <<"1">>}).

a_live_turn_is_reported_with_what_it_had_seen_test() ->
    {10, [?A], T} = aion_turns:new([{1, 10, [?A], [], live}]),
    ?assertEqual(none, aion_turns:wait(T)),
    {[{report, ?HARD, 1, []}], T1} = aion_turns:ended(?HARD, T),
    ?assertEqual(?HARD, aion_turns:wait(T1)).

a_delivery_during_a_turn_is_held_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], live}]),
    {[], T1} = aion_turns:deliver({3, 30, [?A], [], live}, T),
    {[{report, ?SOFT, 1, []}, {give, 30, [?A]}], T2} = aion_turns:ended(?SOFT, T1),
    {[{report, ?DONE, 3, []}], _} = aion_turns:ended(?DONE, T2).

a_delivery_in_parts_is_held_until_it_is_whole_test() ->
    T = waiting(?SOFT),
    {[], T1} = aion_turns:deliver({5, 50, [?A], [], more}, T),
    {[{give, 50, [?A, ?B]}], _} = aion_turns:deliver({5, 50, [?B], [], live}, T1).

a_signal_of_another_name_cannot_wake_a_run_test() ->
    {Actions, T} = aion_turns:deliver({3, 30, [?B], [], live}, waiting(?HARD)),
    ?assertEqual([{add, 30, [?B]}, {report, ?HARD, 3, []}], Actions),
    {[{give, 50, [?A]}], _} = aion_turns:deliver({5, 50, [?A], [], live}, T).

going_on_after_a_soft_wait_is_a_turn_of_the_same_seq_test() ->
    {[{report, ?HARD, 1, []}], _} = aion_turns:ended(?HARD, waiting(?SOFT)),
    {[{report, ?DONE, 1, []}], _} = aion_turns:ended(?DONE, waiting(?SOFT)).

what_comes_while_the_run_goes_on_by_itself_is_held_test() ->
    T = aion_turns:hold({3, 30, [?A], [], live}, waiting(?SOFT)),
    {[{report, ?HARD, 1, []}, {give, 30, [?A]}], _} = aion_turns:ended(?HARD, T),
    {[{report, ?DONE, 1, []}], _} = aion_turns:ended(?DONE, T),
    %% It had not gone on after all.
    {[{give, 30, [?A]}], _} = aion_turns:stuck(T).

recorded_turns_are_not_reported_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?HARD}, {3, 30, [?A], [], ?SOFT}, {5, 50, [?B], [], live}]),
    {[{give, 30, [?A]}], T1} = aion_turns:ended(?HARD, T),
    {[{give, 50, [?B]}], T2} = aion_turns:ended(?SOFT, T1),
    {[{report, ?DONE, 5, []}], _} = aion_turns:ended(?DONE, T2).

the_end_of_the_history_is_told_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?HARD}]),
    {[caught_up], T1} = aion_turns:ended(?HARD, T),
    ?assertEqual(?HARD, aion_turns:wait(T1)).

another_end_than_the_recorded_one_diverges_test_() ->
    [?_assertMatch({[{diverged, _, _}], _}, ended(End, [{1, 10, [], [], Recorded} | Rest])) || {Recorded, End, Rest} <- [
        {?HARD, ?DONE, []}, {?HARD, {wait, signal, <<"b">>}, []}, {?HARD, {failed, crash, <<"boom">>, nil}, []},
        {?SOFT, ?DONE, [{3, 30, [?A], [], ?HARD}]}, {?SOFT, ?HARD, [{3, 30, [?A], [], ?SOFT}]}]].

a_soft_wait_that_is_not_recorded_is_doubted_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?HARD}]),
    {[], T1} = aion_turns:ended(?SOFT, T),
    {[caught_up], _} = aion_turns:ended(?HARD, T1),
    {[{diverged, _, _}], _} = aion_turns:stuck(T1),
    {[], _} = aion_turns:stuck(T).

a_recorded_turn_without_inputs_is_waited_for_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?SOFT}, {1, 10, [], [], ?SOFT}, {3, 30, [?A], [], live}]),
    {[watch], T1} = aion_turns:ended(?SOFT, T),
    {[], _} = aion_turns:stuck(T1),
    {[{give, 30, [?A]}], _} = aion_turns:ended(?SOFT, T1).

a_recorded_soft_wait_without_inputs_after_it_may_be_missing_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?SOFT}, {1, 10, [], [], ?HARD}, {3, 30, [?A], [], ?SOFT}]),
    {[{give, 30, [?A]}], T1} = aion_turns:ended(?HARD, T),
    %% At the end of the history it is the run that has gone on.
    {[{report, ?DONE, 3, []}], _} = aion_turns:ended(?DONE, T1).

live_inputs_come_after_a_turn_of_its_own_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?SOFT}, {3, 30, [?A], [], live}]),
    {[{report, ?HARD, 1, []}, {give, 30, [?A]}], _} = aion_turns:ended(?HARD, T).

turns_in_parts_are_joined_test() ->
    {10, [?A, ?B], T} = aion_turns:new([{1, 10, [?A], [], more}, {1, 10, [?B], [], ?HARD}, {3, 30, [?A], [], more}, {3, 30, [?A], [], live}]),
    {[{give, 30, [?A, ?A]}], _} = aion_turns:ended(?HARD, T).

a_cancel_ends_a_wait_of_the_sdk_test() ->
    {Actions, T} = aion_turns:deliver({3, 30, [?B, ?CANCEL], [], live}, waiting(?HARD)),
    ?assertEqual([{give, 30, [?B, {raise, <<"why">>}]}], Actions),
    {[{report, {cancelled, <<"why">>}, 3, []}], _} = aion_turns:ended({cancelled, <<"why">>}, T).

of_a_cancel_and_a_signal_the_first_ends_the_wait_test() ->
    {[{give, 30, First}], _} = aion_turns:deliver({4, 30, [?CANCEL, ?A], [], live}, waiting(?HARD)),
    ?assertEqual([{raise, <<"why">>}, ?A], First),
    {[{give, 30, Second}], _} = aion_turns:deliver({4, 30, [?A, ?CANCEL], [], live}, waiting(?HARD)),
    ?assertEqual([?A, {pend, <<"why">>}], Second).

a_cancel_before_the_first_wait_pends_test() ->
    {30, [{pend, <<"why">>}, ?A], _} = aion_turns:new([{3, 30, [?CANCEL, ?A], [], live}]).

a_plain_receive_does_not_see_a_cancel_test() ->
    {Actions, T} = aion_turns:deliver({3, 30, [?CANCEL], [], live}, waiting(?SOFT)),
    ?assertEqual([{add, 30, [{pend, <<"why">>}]}, {report, ?SOFT, 3, []}], Actions),
    {[{give, 50, [?A]}], _} = aion_turns:deliver({5, 50, [?A], [], live}, T),
    {[{give, 30, [{pend, <<"why">>}, ?A]}], _} = aion_turns:deliver({4, 30, [?CANCEL, ?A], [], live}, waiting(?SOFT)).

a_recorded_cancel_is_replayed_as_it_was_test() ->
    Recorded = [{1, 10, [], [], ?SOFT}, {3, 30, [?CANCEL], [], ?SOFT}, {5, 50, [?A], [], ?HARD}, {7, 70, [?CANCEL], [], ?HARD}],
    {_, _, T} = aion_turns:new(Recorded),
    {[{add, 30, [{pend, <<"why">>}]}, {give, 50, [?A]}], T1} = aion_turns:ended(?SOFT, T),
    {[{give, 70, [{raise, <<"why">>}]}], T2} = aion_turns:ended(?HARD, T1),
    {[caught_up], _} = aion_turns:ended(?HARD, T2).

a_cancelled_end_that_is_not_recorded_diverges_test() ->
    {[{diverged, _, <<"the run gives up because it was cancelled">>}], _} =
        ended({cancelled, undefined}, [{3, 30, [?CANCEL], [], ?HARD}]).

a_replay_is_over_when_no_recorded_turn_is_left_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], ?HARD}, {3, 30, [?A], [], live}]),
    ?assertNot(aion_turns:is_live(T)),
    {[{give, 30, [?A]}], T1} = aion_turns:ended(?HARD, T),
    ?assert(aion_turns:is_live(T1)),
    {_, _, T2} = aion_turns:new([{1, 10, [], [], ?HARD}]),
    {[caught_up], T3} = aion_turns:ended(?HARD, T2),
    ?assert(aion_turns:is_live(T3)).

%% Timers and activities.

-define(TIMER, {timer, 1, 500}).
-define(CALL, {activity, 2, <<"charge">>, <<"default">>, <<"1">>, #{}}).
-define(CANCELS, {cancel_activity, 2}).
-define(TIMER_SEEN, {timer, 1}).
-define(CALL_SEEN, {activity, 2, <<"charge">>, <<"default">>}).
-define(TEXT, <<"activity 2">>).
-define(FIRED, {ended, 1, fired}).
-define(RESULT, {ended, 2, {completed, <<"7">>}}).
-define(AWAITS, {wait, result, ?TEXT, none, [2]}).
-define(AWAITED, {wait, result, ?TEXT}).

what_a_turn_asks_for_is_reported_with_its_end_in_order_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], live}]),
    T1 = asked([?TIMER, ?CALL], T),
    {[{report, ?AWAITED, 1, [?TIMER, ?CALL]}], T2} = aion_turns:ended(?AWAITS, T1),
    {[{give, 30, [{wake, [2]}, ?RESULT]}], T3} = aion_turns:deliver({3, 30, [?RESULT], [], live}, T2),
    {[{report, ?DONE, 3, []}], _} = aion_turns:ended(?DONE, T3).

a_wait_goes_on_for_what_is_awaited_only_test() ->
    T = waiting(?AWAITS),
    {[{add, 30, [?FIRED, ?A]}, {report, ?AWAITED, 3, []}], T1} = aion_turns:deliver({3, 30, [?FIRED, ?A], [], live}, T),
    {[{give, 50, [{raise, <<"why">>}, ?RESULT]}], _} = aion_turns:deliver({5, 50, [?CANCEL, ?RESULT], [], live}, T1),
    {[{give, 50, Gifts}], _} = aion_turns:deliver({5, 50, [?FIRED, ?RESULT, ?CANCEL], [], live}, T1),
    ?assertEqual([?FIRED, {wake, [2]}, ?RESULT, {pend, <<"why">>}], Gifts).

of_a_signal_and_a_result_the_first_ends_the_wait_test() ->
    T = waiting({wait, result, <<"signal a or timer 1">>, <<"a">>, [1]}),
    {[{give, 30, [?B, ?A, ?FIRED]}], _} = aion_turns:deliver({4, 30, [?B, ?A, ?FIRED], [], live}, T),
    {[{give, 30, [{wake, [1]}, ?FIRED, ?A]}], _} = aion_turns:deliver({4, 30, [?FIRED, ?A], [], live}, T),
    {[{add, 30, [?B]}, {report, {wait, result, _}, 4, []}], _} = aion_turns:deliver({4, 30, [?B], [], live}, T).

the_news_end_at_a_request_to_cancel_test() ->
    T = waiting({wait, result, <<"2 of 2 results">>, none, [1, 2]}),
    {[{give, 30, Gifts}], _} = aion_turns:deliver({5, 30, [?FIRED, ?CANCEL, ?RESULT], [], live}, T),
    ?assertEqual([{wake, [1]}, ?FIRED, {pend, <<"why">>}, ?RESULT], Gifts),
    {[{give, 30, [{wake, [1, 2]} | _]}], _} = aion_turns:deliver({5, 30, [?FIRED, ?A, ?RESULT], [], live}, T).

a_plain_receive_does_not_see_results_test() ->
    {Actions, T} = aion_turns:deliver({3, 30, [?RESULT], [], live}, waiting(?SOFT)),
    ?assertEqual([{add, 30, [?RESULT]}, {report, ?SOFT, 3, []}], Actions),
    {[{give, 50, [?FIRED, ?A]}], _} = aion_turns:deliver({5, 50, [?FIRED, ?A], [], live}, T).

recorded_requests_are_taken_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN, ?CALL_SEEN], ?AWAITED}, {3, 30, [?RESULT], [], live}]),
    {[{give, 30, [{wake, [2]}, ?RESULT]}], T1} = aion_turns:ended(?AWAITS, asked([?TIMER, ?CALL], T)),
    {[{report, ?SOFT, 3, [{cancel_timer, 1}]}], _} = aion_turns:ended(?SOFT, asked([{cancel_timer, 1}], T1)).

what_is_not_compared_may_differ_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN, ?CALL_SEEN], ?AWAITED}]),
    Other = {activity, 2, <<"charge">>, <<"default">>, <<"another">>, #{attempts => 1}},
    {[caught_up], _} = aion_turns:ended(?AWAITS, asked([{timer, 1, 9}, Other], T)).

another_request_than_the_recorded_one_diverges_test_() ->
    [?_assertMatch({[{diverged, _, _}], _}, requested(Request, [{1, 10, [], Recorded, End} | Next])) || {Request, Recorded, End, Next} <- [
        {?CALL, [?TIMER_SEEN], ?HARD, []}, {?TIMER, [{timer, 2}], ?HARD, []}, {?CALL, [], ?HARD, []},
        {?CALL, [{activity, 2, <<"refund">>, <<"default">>}], ?HARD, []}, {?CANCELS, [{cancel_timer, 2}], ?HARD, []},
        {?CALL, [{activity, 2, <<"charge">>, <<"fast">>}], ?HARD, []},
        {?CALL, [], ?SOFT, [{3, 30, [?A], [?CALL_SEEN], ?HARD}]}, {?CALL, [], ?SOFT, [{1, 10, [], [?TIMER_SEEN], ?HARD}]}]].

both_are_named_in_sentences_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN], ?AWAITED}]),
    Place = <<" having been given the events up to 1">>,
    {[{diverged, Expected, Found}], _} = aion_turns:request(?CALL, T),
    ?assertEqual(<<"the run starts timer 1", Place/binary>>, Expected),
    ?assertEqual(<<"the run calls activity \"charge\" (2)">>, Found),
    {[{diverged, Expected, <<"the run completes">>}], _} = aion_turns:ended(?DONE, T),
    {[{diverged, Awaits, <<"the run cancels activity 2">>}], _} = aion_turns:request(?CANCELS, asked([?TIMER], T)),
    ?assertEqual(<<"the run waits for activity 2", Place/binary>>, Awaits),
    {_, _, T1} = aion_turns:new([{1, 10, [], [], {wait, result, <<"timer 1">>}}]),
    {[{diverged, _, <<"the run waits for activity 2">>}], _} = aion_turns:ended(?AWAITS, T1),
    Elsewhere = {activity, 2, <<"charge">>, <<"fast">>, <<"1">>, #{}},
    {[{diverged, _, <<"the run calls activity \"charge\" (2) on queue \"fast\"">>}], _} = aion_turns:request(Elsewhere, T).

a_missing_request_diverges_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN, ?CALL_SEEN], ?AWAITED}]),
    {[{diverged, _, _}], _} = aion_turns:ended(?AWAITS, asked([?TIMER], T)).

a_soft_wait_between_recorded_requests_is_doubted_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN, ?CALL_SEEN], ?SOFT}]),
    {[], T1} = aion_turns:ended(?SOFT, asked([?TIMER], T)),
    {[{diverged, <<"the run calls", _/binary>>, <<"the run waits in a receive">>}], _} = aion_turns:stuck(T1),
    T2 = asked([?CALL], T1),
    {[], _} = aion_turns:stuck(T2),
    {[caught_up], _} = aion_turns:ended(?SOFT, T2).

a_recorded_soft_wait_between_requests_may_be_missing_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN], ?SOFT}, {1, 10, [], [?CALL_SEEN], ?AWAITED}]),
    {[caught_up], _} = aion_turns:ended(?AWAITS, asked([?TIMER, ?CALL], T)),
    {[watch], T1} = aion_turns:ended(?SOFT, asked([?TIMER], T)),
    {[caught_up], _} = aion_turns:ended(?AWAITS, asked([?CALL], T1)).

going_on_with_a_request_after_the_last_recorded_soft_wait_is_news_test_() ->
    [fun() ->
        {_, _, T} = aion_turns:new([{1, 10, [], [?TIMER_SEEN], ?SOFT} | Next]),
        {[{report, ?AWAITED, 1, [?CALL]} | More], _} = aion_turns:ended(?AWAITS, asked([?TIMER, ?CALL], T)),
        ?assertEqual(Expected, More)
    end || {Next, Expected} <- [{[], []}, {[{3, 30, [?A], [], live}], [{add, 30, [?A]}, {report, ?AWAITED, 3, []}]}]].

a_run_that_leaves_a_soft_wait_with_a_request_is_watched_again_test() ->
    {[watch], T} = aion_turns:request(?CALL, waiting(?SOFT)),
    ?assertEqual(none, aion_turns:wait(T)),
    {[], T1} = aion_turns:deliver({3, 30, [?A], [], live}, T),
    {[], _} = aion_turns:stuck(T1),
    {[{report, ?SOFT, 1, [?CALL]}, {give, 30, [?A]}], _} = aion_turns:ended(?SOFT, T1).

requests_are_reported_once_test() ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], live}]),
    {[{report, ?SOFT, 1, [?TIMER]}], T1} = aion_turns:ended(?SOFT, asked([?TIMER], T)),
    {[{report, ?AWAITED, 1, []}], _} = aion_turns:ended(?AWAITS, T1).

a_recorded_turn_in_the_same_wait_asks_for_nothing_test() ->
    Recorded = [{1, 10, [], [?CALL_SEEN], ?AWAITED}, {3, 30, [?FIRED], [], ?AWAITED}, {5, 50, [?RESULT], [], ?HARD}],
    {_, _, T} = aion_turns:new(Recorded),
    {[{add, 30, [?FIRED]}, {give, 50, [{wake, [2]}, ?RESULT]}], T1} = aion_turns:ended(?AWAITS, asked([?CALL], T)),
    {[caught_up], _} = aion_turns:ended(?HARD, T1).

asked(Requests, T) ->
    lists:foldl(fun(Request, T0) -> {[], T1} = aion_turns:request(Request, T0), T1 end, T, Requests).

requested(Request, Turns) ->
    {_, _, T} = aion_turns:new(Turns),
    aion_turns:request(Request, T).

waiting(Wait) ->
    {_, _, T} = aion_turns:new([{1, 10, [], [], live}]),
    {_, T1} = aion_turns:ended(Wait, T),
    T1.

ended(End, Turns) ->
    {_, _, T} = aion_turns:new(Turns),
    aion_turns:ended(End, T).
