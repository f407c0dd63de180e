%% The turns of one activation: which are still to be replayed, what they ask for, what ends them, what is given next. Pure.
%%
%% Input reaches a run only between its turns; what comes earlier is held. A recorded turn must ask for what it asked for, in
%% the same order, and end as it is recorded. A wait found by polling is soft: the run may go on without input, and polling may
%% have seen a wait that is too short to be seen again. So a recorded soft wait that no input followed may show or not, and a
%% soft wait that is not recorded is doubted only when the run stays in it.
-module(aion_turns).
-export([deliver/2, ended/2, hold/2, is_live/1, new/1, request/2, stuck/1, wait/1]).
-export_type([action/0, finish/0, gift/0, stay/0, turns/0]).

-type finish() :: {completed, Json :: binary()}
                | {cancelled, aion_frames:reason()}
                | {failed, Kind :: atom(), Message :: binary(), Details :: binary() | nil}.
%% A wait as the run tells it. One for results goes on for the end of any of `Ids`, or for the signal.
-type stay() :: {wait, signal, Name :: binary()} | {wait, 'receive', nil}
              | {wait, result, Text :: binary(), Signal :: binary() | none, Ids :: [aion_frames:id()]}.
%% An input as the run is given it: a request to cancel is raised in the wait that it ends, else it pends until the run's next
%% call that may wait; `wake` tells a run that waits for results which of them, up to a request to cancel, have come.
-type gift() :: {aion_signal, Name :: binary(), Payload :: binary()} | {raise | pend, aion_frames:reason()}
              | {ended, aion_frames:id(), aion_frames:outcome()} | {wake, [aion_frames:id(), ...]}.
-type action() ::
    {report, aion_frames:wait() | finish(), Seq :: non_neg_integer(), [aion_frames:request()]}   % a turn's end that is news
    | {give, NowMs :: integer(), [gift()]}                              % these inputs begin the next turn
    | {add, NowMs :: integer(), [gift()]}                               % the run is given them, but cannot go on for them
    | watch                                                             % a turn begins without inputs
    | caught_up
    | {diverged, Expected :: binary(), Found :: binary()}.

-record(turns, {
    seq :: non_neg_integer(),                       % newest event the run has been given
    recorded :: [aion_frames:recorded()],           % what the current turn must still ask for
    expected :: aion_frames:wait() | live,          % how the current turn must end
    asked = [] :: [aion_frames:request()],          % what the current turn asked for that is news, newest first
    wait = none :: none | stay(),                   % the run's current wait, between turns
    doubt = none :: none | stay(),                  % a soft wait in the current turn that is not recorded
    next :: [aion_frames:turn()]                    % recorded turns, then deliveries that wait for their turn
}).
-opaque turns() :: #turns{}.

-define(SOFT, {wait, 'receive', nil}).

-spec new([aion_frames:turn(), ...]) -> {Now :: integer(), [gift()], turns()}.
%% The first turn is begun with what is returned.
new(Turns) ->
    [{Seq, NowMs, Inputs, Recorded, End} | Next] = joined(Turns),
    {NowMs, gifts(none, Inputs), #turns{seq = Seq, recorded = Recorded, expected = End, next = Next}}.

joined([{_, _, Inputs, _, more}, {Seq, NowMs, Further, Recorded, End} | Rest]) ->
    joined([{Seq, NowMs, Inputs ++ Further, Recorded, End} | Rest]);
joined([Turn | Rest]) -> [Turn | joined(Rest)];
joined([]) -> [].

-spec wait(turns()) -> none | stay().
%% What the run waits for; `none` while a turn is under way.
wait(#turns{wait = Wait}) -> Wait.

-spec is_live(turns()) -> boolean().
%% Whether every recorded turn has been replayed.
is_live(#turns{expected = Expected}) -> Expected =:= live.

-spec deliver(aion_frames:turn(), turns()) -> {[action()], turns()}.
%% `Turn` ends live, or in `more` if it is to be held until its rest has come.
deliver(Turn, #turns{next = Next} = T) -> proceed(T#turns{next = joined(Next ++ [Turn])}).

-spec hold(aion_frames:turn(), turns()) -> turns().
%% The run has left its soft wait by itself, so a turn without new inputs is under way: `Turn` comes after it.
hold(Turn, #turns{next = Next} = T) -> T#turns{wait = none, next = joined(Next ++ [Turn])}.

-spec request(aion_frames:request(), turns()) -> {[action()], turns()}.
%% The run asks for something. One that was left in a soft wait has gone on by itself, so a turn without inputs is under way.
request(Request, #turns{wait = ?SOFT} = T) ->
    {Actions, T1} = request(Request, T#turns{wait = none}),
    {[watch | Actions], T1};
request(Request, #turns{expected = live, asked = Asked} = T) -> {[], T#turns{asked = [Request | Asked]}};
request(Request, #turns{recorded = [Expected | Rest]} = T) ->
    case held_against(Request) of
        Expected -> {[], T#turns{recorded = Rest, doubt = none}};
        Found -> diverged(words(Expected), words(Found), T)
    end;
request(Request, T) ->
    case beyond_soft(T) of
        {went_on, T1} -> request(Request, T1);
        no -> diverged(words(T#turns.expected), words(held_against(Request)), T)
    end.

%% What of a request is the same in every replay.
held_against({timer, Id, _}) -> {timer, Id};
held_against({activity, Id, Type, Queue, _, _}) -> {activity, Id, Type, Queue};
held_against(Cancels) -> Cancels.

-spec ended(stay() | finish(), turns()) -> {[action()], turns()}.
%% The current turn ended; or the run went on by itself after a soft wait and this is how far it came.
ended(End, #turns{expected = live} = T) -> new_end(End, T);
ended(End, #turns{recorded = []} = T) ->
    case {recorded_as(End), T#turns.expected} of
        {Expected, Expected} -> as_recorded(End, T);
        {?SOFT, _} -> {[], T#turns{doubt = End}};
        _ -> end_beyond(End, beyond_soft(T), T)
    end;
ended(?SOFT, T) -> {[], T#turns{doubt = ?SOFT}};
ended(End, #turns{recorded = [Expected | _]} = T) -> diverged(words(Expected), words(recorded_as(End)), T).

recorded_as({wait, result, Text, _, _}) -> {wait, result, Text};
recorded_as(End) -> End.

new_end(End, #turns{seq = Seq, asked = Asked} = T) ->
    Report = {report, recorded_as(End), Seq, lists:reverse(Asked)},
    case End of
        {wait, _, _} -> reported(Report, End, T);
        {wait, _, _, _, _} -> reported(Report, End, T);
        _ -> {[Report], T}
    end.

reported(Report, Wait, T) ->
    {Actions, T1} = proceed(T#turns{wait = Wait, asked = []}),
    {[Report | Actions], T1}.

as_recorded(Wait, #turns{next = []} = T) -> {[caught_up], T#turns{expected = live, wait = Wait, doubt = none}};
as_recorded(Wait, T) -> proceed(T#turns{wait = Wait, doubt = none}).

end_beyond(End, {went_on, T}, _) -> ended(End, T);
end_beyond(End, no, #turns{expected = Expected} = T) -> diverged(words(Expected), words(recorded_as(End)), T).

%% A soft wait was recorded and did not show: the turn under way is the one after it, if that had no inputs.
beyond_soft(#turns{expected = ?SOFT, next = []} = T) -> {went_on, live(T)};
beyond_soft(#turns{expected = ?SOFT, next = [{_, _, _, _, End} | _]} = T) when End =:= live; End =:= more ->
    {went_on, live(T)};
beyond_soft(#turns{expected = ?SOFT, next = [{Seq, _, [], Recorded, End} | Next]} = T) ->
    {went_on, T#turns{seq = Seq, recorded = Recorded, expected = End, doubt = none, next = Next}};
beyond_soft(_) -> no.

live(T) -> T#turns{expected = live, doubt = none}.

%% Begins the next turn if the run waits and there is one.
proceed(#turns{wait = none} = T) -> {[], T};
proceed(#turns{next = []} = T) -> {[], T};
proceed(#turns{next = [{_, _, _, _, more}]} = T) -> {[], T};
proceed(#turns{wait = Wait, next = [{Seq, NowMs, Inputs, Recorded, Expected} | Next]} = T) ->
    Begun = T#turns{seq = Seq, recorded = Recorded, expected = Expected, wait = none, doubt = none, next = Next},
    Gifts = gifts(Wait, Inputs),
    case goes_on(Wait, Gifts) of
        true -> {[{give, NowMs, Gifts}], Begun};
        perhaps -> {[watch], Begun};
        false ->
            {Actions, T1} = ended(Wait, Begun),
            {[{add, NowMs, Gifts} | Actions], T1}
    end.

%% The first input that a run waits for in the SDK ends that wait, be it what it asked for or the request to cancel.
gifts({wait, signal, Name}, [{aion_signal, Name, _} = Signal | Rest]) -> [Signal | gifts(none, Rest)];
gifts({wait, signal, _}, [{aion_cancel, Reason} | Rest]) -> [{raise, Reason} | gifts(none, Rest)];
gifts({wait, result, _, Name, _}, [{aion_signal, Name, _} = Signal | Rest]) -> [Signal | gifts(none, Rest)];
gifts({wait, result, _, _, _}, [{aion_cancel, Reason} | Rest]) -> [{raise, Reason} | gifts(none, Rest)];
gifts({wait, result, _, _, Ids} = Wait, [{ended, Id, _} = Ended | Rest] = Inputs) ->
    case lists:member(Id, Ids) of
        true -> [{wake, awaited(Inputs, Ids)}, Ended | gifts(none, Rest)];
        false -> [Ended | gifts(Wait, Rest)]
    end;
gifts(Wait, [{aion_cancel, Reason} | Rest]) -> [{pend, Reason} | gifts(Wait, Rest)];
gifts(Wait, [Input | Rest]) -> [Input | gifts(Wait, Rest)];
gifts(_, []) -> [].

awaited([{aion_cancel, _} | _], _) -> [];
awaited([{ended, Id, _} | Rest], Ids) ->
    case lists:member(Id, Ids) of
        true -> [Id | awaited(Rest, Ids)];
        false -> awaited(Rest, Ids)
    end;
awaited([_ | Rest], Ids) -> awaited(Rest, Ids);
awaited([], _) -> [].

%% A run that waits in the SDK goes on for what it asked for, for a request to cancel, and for nothing else; one in a plain
%% receive does not see the request, nor the end of timers and activities.
goes_on({wait, signal, Name}, Gifts) -> lists:keymember(Name, 2, Gifts) orelse lists:keymember(raise, 1, Gifts);
goes_on({wait, result, _, Name, _}, Gifts) -> lists:any(fun(Gift) -> wakes(Gift, Name) end, Gifts);
goes_on(?SOFT, []) -> perhaps;
goes_on(?SOFT, Gifts) -> lists:keymember(aion_signal, 1, Gifts).

wakes({aion_signal, Name, _}, Name) -> true;
wakes({Kind, _}, _) -> Kind =:= wake orelse Kind =:= raise;
wakes(_, _) -> false.

-spec stuck(turns()) -> {[action()], turns()}.
%% The run has stayed for long in one soft wait of the current turn: a doubted one is a divergence. It may also be the wait
%% that it was thought to have left when a delivery came (hold/2).
stuck(#turns{doubt = none, expected = live, asked = [], next = [_ | _]} = T) -> proceed(T#turns{wait = ?SOFT});
stuck(#turns{doubt = none} = T) -> {[], T};
stuck(#turns{doubt = Wait, recorded = [Expected | _]} = T) -> diverged(words(Expected), words(Wait), T);
stuck(#turns{doubt = Wait, expected = Expected} = T) -> diverged(words(Expected), words(Wait), T).

diverged(Expected, Found, #turns{seq = Seq} = T) ->
    Place = iolist_to_binary([" having been given the events up to ", integer_to_list(Seq)]),
    {[{diverged, <<Expected/binary, Place/binary>>, Found}], T}.

words({wait, signal, Name}) -> <<"the run waits for signal \"", Name/binary, "\"">>;
words({wait, result, Text}) -> <<"the run waits for ", Text/binary>>;
words(?SOFT) -> <<"the run waits in a receive">>;
words({cancelled, _}) -> <<"the run gives up because it was cancelled">>;
words({completed, _}) -> <<"the run completes">>;
words({failed, Kind, Message, _}) ->
    <<"the run fails (", (atom_to_binary(Kind))/binary, "): ", Message/binary>>;
words({timer, Id}) -> named("starts timer", Id);
words({cancel_timer, Id}) -> named("cancels timer", Id);
words({cancel_activity, Id}) -> named("cancels activity", Id);
words({activity, Id, Type, <<"default">>}) ->
    iolist_to_binary(["the run calls activity \"", Type, "\" (", integer_to_list(Id), ")"]);
words({activity, Id, Type, Queue}) ->
    <<(words({activity, Id, Type, <<"default">>}))/binary, " on queue \"", Queue/binary, "\"">>.

named(Does, Id) -> iolist_to_binary(["the run ", Does, " ", integer_to_list(Id)]).
