%% What a run asks the engine for: timers and activities, and that they be cancelled. Checks what authors give; values that are
%% not given are filled in behind the frames, in one place.
-module(aion_flow_requests).
-export([activity/3, cancel/1, cancel_after/1, name/1, release/1, timer/1, undone/1]).
-export_type([options/0, retry/0]).

-type retry() :: #{
    attempts => pos_integer() | infinity, backoff => fixed | linear | exponential,
    initial => pos_integer(), max => pos_integer(), jitter => 0..100, non_retryable => [binary() | atom()]
}.
-type options() :: #{
    queue => binary() | atom(), retry => retry(),
    schedule_to_start => pos_integer(), start_to_close => pos_integer(), schedule_to_close => pos_integer(),
    heartbeat => pos_integer()
}.

-define(QUEUE_BYTES, 63).
-define(NAME_BYTES, 255).
-define(ATTEMPTS, 16#7fffffff).
-define(KINDS, 100).
-define(DAY_MS, 86400000).
%% Tasks are kept for 14 days.
-define(ACTIVITY_MS, (13 * ?DAY_MS)).
-define(TIMER_MS, (10 * 365 * ?DAY_MS)).

-spec timer(Ms :: non_neg_integer()) -> aion_frames:id().
timer(Ms) when is_integer(Ms), Ms >= 0, Ms =< ?TIMER_MS ->
    Id = asked(1, 0),
    aion_results:opened(Id, timer),
    send({timer, Id, Ms}),
    Id;
timer(Ms) -> bad(delay, Ms, "not a time of 0 ms to 10 years").

-spec activity(Type :: binary() | atom(), Input :: term(), options()) -> aion_frames:id().
activity(Type, Input, Options) ->
    Name = text(type, Type, ?NAME_BYTES),
    {Queue, Given} = options(Options),
    Json = input(aion_flow:encode(Input)),
    Id = asked(1, byte_size(Name) + byte_size(Queue) + byte_size(Json) + kinds_bytes(Given)),
    aion_results:opened(Id, activity),
    send({activity, Id, Name, Queue, Json, Given}),
    Id.

input(Json) ->
    Max = aion_limits:result_bytes(),
    case byte_size(Json) of
        Bytes when Bytes > Max -> error({too_large, aion_run:too_large("input", "JSON", Bytes, Max)});
        _ -> Json
    end.

kinds_bytes(#{non_retryable := Kinds}) -> lists:sum([byte_size(Kind) || {text, Kind} <- Kinds]);
kinds_bytes(_) -> 0.

-spec cancel(aion_frames:id()) -> ok.
%% Nothing happens to what is not open.
cancel(Id) ->
    case aion_results:look(Id) of
        {open, Kind} -> cancel(Id, Kind);
        _ -> ok
    end.

cancel(Id, Kind) ->
    _ = asked(0, 0),
    aion_results:ended(self(), Id, cancelled),
    send({word(Kind), Id}).

word(timer) -> cancel_timer;
word(activity) -> cancel_activity.

-spec cancel_after(aion_frames:id()) -> ok.
%% What began after this one and is still open.
cancel_after(Id) ->
    [ok = cancel(Open, Kind) || {Open, Kind} <- aion_results:open_after(Id)],
    ok.

-spec release([aion_frames:id()]) -> ok.
%% Nobody will ask for these again.
release(Ids) ->
    lists:foreach(fun cancel/1, Ids),
    lists:foreach(fun aion_results:take/1, Ids).

-spec undone(fun(() -> Value)) -> Value.
%% Calls the function. When it raises, what it started and is still open is cancelled: nobody else knows of it.
undone(Fun) ->
    Newest = aion_rows:newest_id(),
    try Fun()
    catch Class:Reason:Stack ->
        cancel_after(Newest),
        erlang:raise(Class, Reason, Stack)
    end.

asked(Ids, Bytes) ->
    case aion_rows:count(Ids, Bytes) of
        {ok, Id} -> Id;
        {over, requests} -> error({too_many_requests, sentence("starts more than ~b timers and activities", aion_limits:turn_requests())});
        {over, bytes} -> error({too_large, sentence("asks for more than ~b bytes of history", aion_limits:turn_bytes())})
    end.

sentence(What, Max) -> iolist_to_binary(io_lib:format("the turn " ++ What, [Max])).

send(Request) ->
    aion_host ! {request, self(), Request},
    ok.

-spec name(Name :: binary() | atom()) -> binary().
%% Of a signal.
name(Name) -> text(name, Name, ?NAME_BYTES).

options(Options) when map_size(Options) =:= 0 -> {<<"default">>, #{}};
options(Options) when is_map(Options) -> maps:fold(fun option/3, {<<"default">>, #{}}, Options);
options(Options) -> bad(options, Options, "not a map").

option(queue, Queue, {_, Given}) -> {queue(Queue), Given};
option(retry, Retry, {Queue, Given}) when is_map(Retry) -> {Queue, maps:fold(fun retry/3, Given, Retry)};
option(retry, Retry, _) -> bad(retry, Retry, "not a map");
option(Key, Ms, {Queue, Given}) when Key =:= schedule_to_start; Key =:= start_to_close; Key =:= schedule_to_close;
                                     Key =:= heartbeat ->
    {Queue, Given#{Key => number(Key, Ms, 1, ?ACTIVITY_MS)}};
option(Key, Value, _) -> bad(Key, Value, "given, but there is no such option").

retry(attempts, infinity, Given) -> Given;
retry(attempts, N, Given) -> Given#{attempts => number(attempts, N, 1, ?ATTEMPTS)};
retry(backoff, Kind, Given) when Kind =:= fixed; Kind =:= linear; Kind =:= exponential -> Given#{backoff => Kind};
retry(backoff, Kind, _) -> bad(backoff, Kind, "none of fixed, linear and exponential");
retry(jitter, Percent, Given) -> Given#{jitter => number(jitter, Percent, 0, 100)};
retry(Key, Ms, Given) when Key =:= initial; Key =:= max -> Given#{Key => number(Key, Ms, 1, ?ACTIVITY_MS)};
retry(non_retryable, Kinds, Given) when is_list(Kinds), length(Kinds) =< ?KINDS ->
    Given#{non_retryable => [{text, text(non_retryable, Kind, ?NAME_BYTES)} || Kind <- Kinds]};
retry(non_retryable, Kinds, _) -> bad(non_retryable, Kinds, "not a list of at most 100 kinds of failures");
retry(Key, Value, _) -> bad(Key, Value, "given for retry, but there is no such option").

number(_, N, Min, Max) when is_integer(N), N >= Min, N =< Max -> N;
number(Key, N, Min, Max) -> bad(Key, N, io_lib:format("not a whole number of ~b to ~b", [Min, Max])).

queue(Queue) ->
    case text(queue, Queue, ?QUEUE_BYTES) of
        <<First, Rest/binary>> = Name when First =/= $_, First =/= $- ->
            [is_queue_char(C) orelse bad_queue(Queue) || <<C>> <= <<First, Rest/binary>>],
            Name;
        _ -> bad_queue(Queue)
    end.

is_queue_char(C) -> (C >= $a andalso C =< $z) orelse (C >= $0 andalso C =< $9) orelse C =:= $_ orelse C =:= $-.

bad_queue(Queue) -> bad(queue, Queue, "not of a-z, 0-9, _ and -, beginning with a letter or digit").

text(Key, Text, Max) when is_atom(Text) -> text(Key, atom_to_binary(Text), Max);
text(Key, Text, Max) when is_binary(Text), Text =/= <<>>, byte_size(Text) =< Max ->
    case unicode:characters_to_binary(Text) of
        Text -> Text;
        _ -> bad(Key, Text, "not UTF-8")
    end;
text(Key, Text, Max) -> bad(Key, Text, io_lib:format("not a text of 1 to ~b bytes", [Max])).

-spec bad(term(), term(), string()) -> no_return().
bad(Key, Value, Why) ->
    Sentence = io_lib:format("~0tp is ~0tp, ~ts", [Key, Value, Why], [{chars_limit, 1000}]),
    error({bad_option, Key, unicode:characters_to_binary(Sentence)}).
