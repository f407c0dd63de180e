%% The SDK for workflow authors.
%%
%% A workflow is Module:Function(Argument): Argument is the input's JSON text (`null` when there is none). `{ok, V}` or any
%% other term completes the run, `{error, V}` or a crash fails it; results are written as encode/1 does. What a workflow
%% does must depend only on its argument, its signals and the functions below: after a crash it is run again from the
%% start, with the same inputs at the same places.
%%
%% Signals are messages {aion_signal, Name, PayloadJson}; a plain `receive` may take them, too. The ends of timers and
%% activities are not: only the calls below see them.
%%
%% Calls that may wait (activity, await, all, race, map, sleep, receive_signal) raise the error {aion_cancelled, Reason} once
%% after a request to cancel the run, Reason being its text or `undefined`. Not caught, it ends the run as cancelled; a run that
%% catches it may clean up, wait again, and end as it likes.
-module(aion_flow).
-export([activity/2, activity/3, all/1, async_activity/2, async_activity/3, await/1, cancel/1, cancel_timer/1, decode/1,
         encode/1, info/0, map/2, now/0, publish/1, race/1, receive_signal/1, receive_signal/2, sleep/1, start_timer/1,
         start_timer/2, with_timeout/2]).

-type info() :: #{
    namespace := binary(), workflow_id := binary(), run_id := binary(), workflow_type := binary(), version := binary()
}.
-type name() :: binary() | atom().
-type json() :: binary().
-type options() :: aion_flow_requests:options().
%% A timer or an activity that was started. One call that waits for it returns its outcome, and then it is spent: a further one
%% fails with {bad_ref, Sentence}.
-opaque timer_ref() :: {aion_timer, aion_frames:id(), Value :: term()}.
-opaque activity_ref() :: {aion_activity, aion_frames:id()}.
-type ref() :: timer_ref() | activity_ref().
%% Kinds: that of the worker's failure; <<"timeout">>, with `timeout`; <<"cancelled">>, by the run itself. Details: JSON text.
-type error() :: #{
    kind := binary(), message := binary(), details := json() | null, timeout => aion_frames:timeout_kind()
}.
%% Of an activity: {ok, ResultJson} or an error. Of a timer: {ok, its value}.
-type outcome() :: {ok, json() | term()} | {error, error()}.
-export_type([activity_ref/0, error/0, info/0, json/0, name/0, options/0, outcome/0, ref/0, timer_ref/0]).

-spec receive_signal(name()) -> {ok, PayloadJson :: json()}.
%% The oldest signal of this name that was not taken yet; waits for it if there is none. The payload is JSON text, `null`
%% when the signal has none.
receive_signal(Name) ->
    Text = aion_flow_requests:name(Name),
    ok = aion_flow_wait:interrupt(),
    receive {aion_signal, Text, Payload} -> {ok, Payload}
    after 0 ->
        {signal, Payload} = aion_flow_wait:for(["signal ", Text], Text, []),
        {ok, Payload}
    end.

-spec receive_signal(name(), Ms :: non_neg_integer() | infinity) -> {ok, PayloadJson :: json()} | timeout.
%% As receive_signal/1, but for so long at most; 0: without waiting.
receive_signal(Name, infinity) -> receive_signal(Name);
receive_signal(Name, Ms) ->
    Text = aion_flow_requests:name(Name),
    ok = aion_flow_wait:interrupt(),
    receive {aion_signal, Text, Payload} -> {ok, Payload}
    after 0 ->
        case Ms of
            0 -> timeout;
            _ -> aion_flow_requests:undone(fun() -> signal_or_timer(Text, aion_flow_requests:timer(Ms)) end)
        end
    end.

signal_or_timer(Name, Timer) ->
    Came = aion_flow_wait:for(["signal ", Name, " or timer ", integer_to_list(Timer)], Name, [Timer]),
    aion_flow_requests:release([Timer]),
    case Came of
        {signal, Payload} -> {ok, Payload};
        {ended, _} -> timeout
    end.

-spec activity(Type :: name(), Input :: term()) -> {ok, ResultJson :: json()} | {error, error()}.
activity(Type, Input) -> activity(Type, Input, #{}).

-spec activity(Type :: name(), Input :: term(), options()) -> {ok, ResultJson :: json()} | {error, error()}.
%% Has a worker do something, and waits for it. The input is written as encode/1 does. Cancelled when something else
%% ends the wait. Fails with {bad_option, Key, Sentence}, and with {bad_term | too_large, Sentence} for its input.
activity(Type, Input, Options) ->
    aion_flow_requests:undone(fun() -> await(async_activity(Type, Input, Options)) end).

-spec async_activity(Type :: name(), Input :: term()) -> activity_ref().
async_activity(Type, Input) -> async_activity(Type, Input, #{}).

-spec async_activity(Type :: name(), Input :: term(), options()) -> activity_ref().
%% As activity/3, without waiting.
async_activity(Type, Input, Options) -> {aion_activity, aion_flow_requests:activity(Type, Input, Options)}.

-spec start_timer(Ms :: non_neg_integer()) -> timer_ref().
start_timer(Ms) -> start_timer(Ms, fired).

-spec start_timer(Ms :: non_neg_integer(), Value :: term()) -> timer_ref().
%% Its outcome will be {ok, Value}.
start_timer(Ms, Value) -> {aion_timer, aion_flow_requests:timer(Ms), Value}.

-spec cancel_timer(timer_ref()) -> ok.
%% As cancel/1.
cancel_timer({aion_timer, _, _} = Ref) -> cancel(Ref).

-spec cancel(ref()) -> ok.
%% Its outcome is an error of kind `cancelled` from now on. Nothing happens to what has ended before.
cancel(Ref) -> aion_flow_requests:cancel(id(Ref)).

-spec await(ref()) -> outcome().
%% Waits until it has ended.
await(Ref) ->
    Id = id(Ref),
    ok = aion_flow_wait:interrupt(),
    case look(Id) of
        {open, Kind} -> aion_flow_wait:for([atom_to_list(Kind), " ", integer_to_list(Id)], none, [Id]);
        _ -> ok
    end,
    Outcome = outcome(Ref),
    aion_results:take(Id),
    Outcome.

-spec all([ref()]) -> {ok, [json() | term()]} | {error, error()}.
%% Waits for all of them: their results, in the order of the list; or the first error in the order of the history, and then
%% those that are open are cancelled. All of them are spent.
all(Refs) ->
    Ids = ids(Refs),
    ok = aion_flow_wait:interrupt(),
    Ended = lists:sort([{Order, Id} || Id <- Ids, {ended, Order, _} <- [look(Id)]]),
    all_ended([Id || {_, Id} <- Ended], Ids, Ids, Refs).

%% These have ended, in this order; `Open` are those that had not before.
all_ended(Ended, Open, Ids, Refs) ->
    case lists:search(fun has_failed/1, Ended) of
        {value, Id} -> spent(failure(element(3, look(Id))), Ids);
        false -> all_of(Open -- Ended, Ids, Refs)
    end.

all_of([], Ids, Refs) -> spent({ok, [element(2, outcome(Ref)) || Ref <- Refs]}, Ids);
all_of(Open, Ids, Refs) ->
    ok = aion_flow_wait:interrupt(),
    Text = [integer_to_list(length(Open)), " of ", integer_to_list(length(Ids)), " results"],
    {ended, Ended} = aion_flow_wait:for(Text, none, Open),
    all_ended(Ended, Open, Ids, Refs).

-spec race([ref(), ...]) -> {ref(), outcome()}.
%% Waits for the first of them that ends, well or not, in the order of the history; then those that are open are cancelled. All
%% of them are spent.
race([_ | _] = Refs) ->
    Ids = ids(Refs),
    ok = aion_flow_wait:interrupt(),
    Winner = case lists:sort([{Order, Id} || Id <- Ids, {ended, Order, _} <- [look(Id)]]) of
        [{_, First} | _] -> First;
        [] ->
            {ended, [First | _]} = aion_flow_wait:for(["the first of ", integer_to_list(length(Ids)), " results"], none, Ids),
            First
    end,
    {value, Ref} = lists:search(fun(R) -> element(2, R) =:= Winner end, Refs),
    spent({Ref, outcome(Ref)}, Ids).

-spec map(Type :: name() | fun((Item) -> ref()), [Item]) -> {ok, [json() | term()]} | {error, error()}.
%% Starts an activity of this type for each item, or calls the function, which starts what it returns; then as all/1. Cancelled
%% when the wait is ended by something else.
map(Fun, Items) when is_function(Fun, 1) -> aion_flow_requests:undone(fun() -> all([Fun(Item) || Item <- Items]) end);
map(Type, Items) -> map(fun(Item) -> async_activity(Type, Item) end, Items).

-spec sleep(Ms :: non_neg_integer()) -> ok.
sleep(Ms) ->
    {ok, fired} = aion_flow_requests:undone(fun() -> await(start_timer(Ms)) end),
    ok.

-spec with_timeout(Ms :: non_neg_integer(), fun(() -> Value)) -> {ok, Value} | timeout.
%% Calls the function. When the time is over before it returns, the call in it that waits, or the next one that may, is ended
%% by an error that must not be caught; what was started in it and is still open is cancelled. A plain `receive` is not ended.
with_timeout(Ms, Fun) -> aion_flow_wait:scope(aion_flow_requests:timer(Ms), Fun).

spent(Result, Ids) ->
    aion_flow_requests:release(Ids),
    Result.

id({aion_timer, Id, _}) when is_integer(Id) -> Id;
id({aion_activity, Id}) when is_integer(Id) -> Id;
id(Other) -> bad_ref(io_lib:format("~0tp is no timer or activity", [Other], [{chars_limit, 1000}])).

ids(Refs) ->
    Ids = [id(Ref) || Ref <- Refs],
    length(lists:usort(Ids)) =:= length(Ids) orelse bad_ref("the same timer or activity stands twice in the list"),
    Ids.

look(Id) ->
    case aion_results:look(Id) of
        none -> bad_ref(io_lib:format("the outcome of timer or activity ~b has been taken", [Id]));
        Found -> Found
    end.

-spec bad_ref(iodata()) -> no_return().
bad_ref(Sentence) -> error({bad_ref, unicode:characters_to_binary(Sentence)}).

has_failed(Id) ->
    case look(Id) of
        {ended, _, fired} -> false;
        {ended, _, {completed, _}} -> false;
        _ -> true
    end.

outcome(Ref) ->
    {ended, _, Outcome} = look(id(Ref)),
    case {Ref, Outcome} of
        {{aion_timer, _, Value}, fired} -> {ok, Value};
        {_, {completed, Json}} -> {ok, Json};
        _ -> failure(Outcome)
    end.

failure({failed, Kind, Message, nil}) -> failure(Kind, Message, null, #{});
failure({failed, Kind, Message, Details}) -> failure(Kind, Message, Details, #{});
failure({timed_out, Kind}) ->
    failure(<<"timeout">>, <<"the time ", (atom_to_binary(Kind))/binary, " is over">>, null, #{timeout => Kind});
failure(cancelled) -> failure(<<"cancelled">>, <<"the run has cancelled it">>, null, #{}).

failure(Kind, Message, Details, More) -> {error, More#{kind => Kind, message => Message, details => Details}}.

-spec publish(term()) -> ok.
%% What queries of this run are given from now on, in place of what was published before. Fails with {too_large, Sentence}.
publish(Term) ->
    Max = aion_limits:result_bytes(),
    case erlang:external_size(Term) of
        Bytes when Bytes > Max -> error({too_large, aion_run:too_large("published term", "external format", Bytes, Max)});
        _ -> aion_rows:publish(Term)
    end.

-spec now() -> MsSinceEpoch :: integer().
%% When the newest event that this run has been given was recorded: the same in every replay.
now() -> aion_rows:now().

-spec info() -> info().
%% Which run this is.
info() -> aion_rows:info().

-spec decode(Json :: iodata()) -> aion_json:json().
%% Objects become maps with binary keys, strings binaries, null the atom null. Fails with {bad_json, Sentence}.
decode(Json) ->
    case aion_json:decode(iolist_to_binary(Json)) of
        {ok, Value} -> Value;
        {error, Why} -> error({bad_json, Why})
    end.

-spec encode(term()) -> Json :: binary().
%% Atoms but true, false, null, nil and undefined become strings, binaries the JSON that they hold or else strings, tuples
%% arrays, maps objects. Fails with {bad_term, Sentence} for what JSON cannot hold.
encode(Term) ->
    case aion_json:encode(Term) of
        {ok, Json} -> Json;
        {error, Why} -> error({bad_term, Why})
    end.
