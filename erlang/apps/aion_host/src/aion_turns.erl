%% The turns of one activation: which are still to be replayed, what ends them, what is given next. Pure.
%%
%% Input reaches a run only between its turns; what comes earlier is held. A recorded turn must end as it is recorded. A
%% wait found by polling is soft: the run may go on without input, and polling may have seen a wait that is too short
%% to be seen again. So a recorded soft wait that no input followed may show or not, and a soft wait that is not
%% recorded is doubted only when the run stays in it.
-module(aion_turns).
-export([deliver/2, ended/2, hold/2, is_live/1, new/1, stuck/1, wait/1]).
-export_type([action/0, finish/0, gift/0, turns/0]).

-type finish() :: {completed, Json :: binary()}
                | {cancelled, aion_frames:reason()}
                | {failed, Kind :: atom(), Message :: binary(), Details :: binary() | nil}.
%% An input as the run is given it: a request to cancel is raised in the wait that it ends, else it pends until the run's next
%% call that may wait.
-type gift() :: {aion_signal, Name :: binary(), Payload :: binary()} | {raise | pend, aion_frames:reason()}.
-type action() ::
    {report, aion_frames:wait() | finish(), Seq :: non_neg_integer()}   % a turn's end that is news
    | {give, NowMs :: integer(), [gift()]}                              % these inputs begin the next turn
    | {add, NowMs :: integer(), [gift()]}                               % the run is given them, but cannot go on for them
    | watch                                                             % a turn begins without inputs
    | caught_up
    | {diverged, Expected :: binary(), Found :: binary()}.

-record(turns, {
    seq :: non_neg_integer(),                       % newest event the run has been given
    expected :: aion_frames:wait() | live,          % how the current turn must end
    wait = none :: none | aion_frames:wait(),       % the run's current wait, between turns
    doubt = none :: none | aion_frames:wait(),      % a soft wait in the current turn that is not recorded
    next :: [aion_frames:turn()]                    % recorded turns, then deliveries that wait for their turn
}).
-opaque turns() :: #turns{}.

-spec new([aion_frames:turn(), ...]) -> {Now :: integer(), [gift()], turns()}.
%% The first turn is begun with what is returned.
new(Turns) ->
    [{Seq, NowMs, Inputs, End} | Next] = joined(Turns),
    {NowMs, gifts(none, Inputs), #turns{seq = Seq, expected = End, next = Next}}.

joined([{_, _, Inputs, more}, {Seq, NowMs, Further, End} | Rest]) -> joined([{Seq, NowMs, Inputs ++ Further, End} | Rest]);
joined([Turn | Rest]) -> [Turn | joined(Rest)];
joined([]) -> [].

-spec wait(turns()) -> none | aion_frames:wait().
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

-spec ended(aion_frames:wait() | finish(), turns()) -> {[action()], turns()}.
%% The current turn ended; or the run went on by itself after a soft wait and this is how far it came.
ended(End, #turns{expected = live} = T) -> new_end(End, T);
ended(End, #turns{expected = End} = T) -> as_recorded(T);
ended({wait, 'receive', nil} = End, T) -> {[], T#turns{doubt = End}};
ended(End, #turns{expected = {wait, 'receive', nil}} = T) -> went_on(End, T);
ended(End, T) -> diverged(End, T).

new_end({wait, _, _} = Wait, #turns{seq = Seq} = T) ->
    {Actions, T1} = proceed(T#turns{wait = Wait}),
    {[{report, Wait, Seq} | Actions], T1};
new_end(Finish, #turns{seq = Seq} = T) -> {[{report, Finish, Seq}], T}.

as_recorded(#turns{expected = Wait, next = []} = T) -> {[caught_up], live(Wait, T)};
as_recorded(#turns{expected = Wait} = T) -> proceed(T#turns{wait = Wait, doubt = none}).

live(Wait, T) -> T#turns{expected = live, wait = Wait, doubt = none}.

%% A soft wait was recorded and did not show.
went_on(End, #turns{next = []} = T) -> new_end(End, T#turns{expected = live});
went_on(End, #turns{next = [{_, _, _, live} | _]} = T) -> new_end(End, T#turns{expected = live});
went_on(End, #turns{next = [{Seq, _, [], Expected} | Next]} = T) ->
    ended(End, T#turns{seq = Seq, expected = Expected, doubt = none, next = Next});
went_on(End, T) -> diverged(End, T).

%% Begins the next turn if the run waits and there is one.
proceed(#turns{wait = none} = T) -> {[], T};
proceed(#turns{next = []} = T) -> {[], T};
proceed(#turns{next = [{_, _, _, more}]} = T) -> {[], T};
proceed(#turns{wait = Wait, next = [{Seq, NowMs, Inputs, Expected} | Next]} = T) ->
    Begun = T#turns{seq = Seq, expected = Expected, wait = none, doubt = none, next = Next},
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
gifts(Wait, [{aion_cancel, Reason} | Rest]) -> [{pend, Reason} | gifts(Wait, Rest)];
gifts(Wait, [Signal | Rest]) -> [Signal | gifts(Wait, Rest)];
gifts(_, []) -> [].

%% A run in receive_signal/1 goes on for a signal of that name, for a request to cancel, and for nothing else; one in a plain
%% receive does not see the request.
goes_on({wait, signal, Name}, Gifts) -> lists:keymember(Name, 2, Gifts) orelse lists:keymember(raise, 1, Gifts);
goes_on({wait, 'receive', nil}, []) -> perhaps;
goes_on({wait, 'receive', nil}, Gifts) -> lists:keymember(aion_signal, 1, Gifts).

-spec stuck(turns()) -> {[action()], turns()}.
%% The run has stayed for long in one soft wait of the current turn: a doubted one is a divergence. It may also be the wait
%% that it was thought to have left when a delivery came (hold/2).
stuck(#turns{doubt = none, expected = live, next = [_ | _]} = T) -> proceed(T#turns{wait = {wait, 'receive', nil}});
stuck(#turns{doubt = none} = T) -> {[], T};
stuck(#turns{doubt = Wait} = T) -> diverged(Wait, T).

diverged(Found, #turns{expected = Expected, seq = Seq} = T) ->
    Place = iolist_to_binary([" having been given the events up to ", integer_to_list(Seq)]),
    {[{diverged, <<(words(Expected))/binary, Place/binary>>, words(Found)}], T}.

words({wait, signal, Name}) -> <<"the run waits for signal \"", Name/binary, "\"">>;
words({wait, 'receive', nil}) -> <<"the run waits in a receive">>;
words({cancelled, _}) -> <<"the run gives up because it was cancelled">>;
words({completed, _}) -> <<"the run completes">>;
words({failed, Kind, Message, _}) ->
    <<"the run fails (", (atom_to_binary(Kind))/binary, "): ", Message/binary>>.
