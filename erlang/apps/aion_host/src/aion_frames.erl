%% Frames to records and back (schemas/beam/frames.md is the contract). Pure.
-module(aion_frames).
-export([decode/1, encode/1]).

-define(PROTOCOL, 3).

-type activation() :: non_neg_integer().
-type ticket() :: non_neg_integer().
-type reason() :: binary() | undefined.
%% Timers and activities are numbered from 1 within a run, in the order of its calls.
-type id() :: pos_integer().
-type timeout_kind() :: schedule_to_start | start_to_close | schedule_to_close | heartbeat.
-type outcome() :: fired
                 | {completed, Json :: binary()}
                 | {failed, Kind :: binary(), Message :: binary(), Details :: binary() | nil}
                 | {timed_out, timeout_kind()}.
-type input() :: {aion_signal, Name :: binary(), Payload :: binary()} | {aion_cancel, reason()} | {ended, id(), outcome()}.
%% How a turn ends. A text tells what the run waits for, the same in every replay.
-type wait() :: {wait, signal, Name :: binary()} | {wait, 'receive', nil} | {wait, result, Text :: binary()}.
-type options() :: #{atom() => pos_integer() | non_neg_integer() | atom() | [{text, binary()}]}.
%% What a turn asks for; of a recorded one, what a replay holds against it.
-type request() :: {timer, id(), DelayMs :: non_neg_integer()}
                 | {cancel_timer, id()}
                 | {activity, id(), Type :: binary(), Queue :: binary(), Input :: binary(), options()}
                 | {cancel_activity, id()}.
-type recorded() :: {timer | cancel_timer | cancel_activity, id()} | {activity, id(), Type :: binary(), Queue :: binary()}.
%% {Observed seq, time of the newest event given, inputs first given at this turn, what it asked for, its end}. The end `live`
%% is not recorded yet; after `more` the next turn of the list brings further inputs of the same turn.
-type turn() :: {non_neg_integer(), integer(), [input()], [recorded()], wait() | live | more}.
-type parts() :: [{Name :: binary(), Part :: binary()}].
-type start() :: #{activation := activation(), module := binary(), function := binary(), argument := binary(),
                   info := #{atom() => binary()}, turns := [turn()], more := boolean()}.
-type order() :: {load | check, ticket(), parts(), More :: boolean()}
               | {start, start()}
               | {history, activation(), [turn()], More :: boolean()}
               | {deliver, activation(), turn()}
               | {kill, activation()}
               | {ping, ticket()}
               | {query, activation(), ticket(), Name :: binary(), Arguments :: binary()}.
-type report() :: {ready, OtpRelease :: binary()}
                | {answer, ticket(), ok | error, aion_msgpack:writable()}
                | {waiting, activation(), Seq :: non_neg_integer(), signal | 'receive' | result, binary() | nil, [request()]}
                | {completed, activation(), Seq :: non_neg_integer(), Json :: binary()}
                | {failed, activation(), Seq :: non_neg_integer(), Kind :: atom(), Message :: binary(),
                   Details :: binary() | nil}
                | {cancelled, activation(), Seq :: non_neg_integer(), reason()}
                | {diverged, activation(), Expected :: binary(), Found :: binary()}
                | {caught_up, activation()}
                | {pong, ticket()}
                | {queried, activation(), ticket(), ok | error, aion_msgpack:writable()}.
-export_type([activation/0, id/0, input/0, options/0, order/0, outcome/0, parts/0, reason/0, recorded/0, report/0, request/0,
              start/0, ticket/0, timeout_kind/0, turn/0, wait/0]).

-spec decode(binary()) -> [order()].
%% Everything in a frame comes from our own peer: what does not fit is a bug and crashes.
decode(Frame) -> [order(R) || R <- aion_msgpack:decode(Frame)].

order([1, Request, Modules, More]) -> {load, Request, parts(Modules), More};
order([2, Request, Modules, More]) -> {check, Request, parts(Modules), More};
order([3, Activation, Module, Function, Argument, Info, Turns, More]) ->
    {start, #{activation => Activation, module => Module, function => Function, argument => own(Argument),
              info => info(Info), turns => turns(Turns), more => More}};
order([4, Activation, Turns, More]) -> {history, Activation, turns(Turns), More};
order([5, Activation, Seq, NowMs, Inputs, true]) -> {deliver, Activation, {Seq, NowMs, inputs(Inputs), [], more}};
order([5, Activation, Seq, NowMs, Inputs, false]) -> {deliver, Activation, {Seq, NowMs, inputs(Inputs), [], live}};
order([6, Activation]) -> {kill, Activation};
order([7, Request]) -> {ping, Request};
order([8, Activation, Query, Name, Arguments]) -> {query, Activation, Query, own(Name), own(Arguments)}.

parts(Modules) -> [{Name, Part} || [Name, Part] <- Modules].

info(Info) -> maps:fold(fun(Key, Value, Acc) -> Acc#{info_key(Key) => own(Value)} end, #{}, Info).

info_key(<<"namespace">>) -> namespace;
info_key(<<"workflow_id">>) -> workflow_id;
info_key(<<"run_id">>) -> run_id;
info_key(<<"workflow_type">>) -> workflow_type;
info_key(<<"version">>) -> version.

turns(Turns) ->
    [{Seq, NowMs, inputs(Inputs), [recorded(R) || R <- Recorded], turn_end(End)}
     || [Seq, NowMs, Inputs, Recorded, End] <- Turns].

inputs(Inputs) -> [input(I) || I <- Inputs].

input([<<"signal">>, Name, Payload]) -> {aion_signal, own(Name), own(Payload)};
input([<<"activity">>, Id, <<"completed">>, Json]) -> {ended, Id, {completed, own(Json)}};
input([<<"timer">>, Id]) -> {ended, Id, fired};
input([<<"activity">>, Id, <<"failed">>, Kind, Message, nil]) -> {ended, Id, {failed, own(Kind), own(Message), nil}};
input([<<"activity">>, Id, <<"failed">>, Kind, Message, Details]) ->
    {ended, Id, {failed, own(Kind), own(Message), own(Details)}};
input([<<"activity">>, Id, <<"timed_out">>, Kind]) -> {ended, Id, {timed_out, timeout_kind(Kind)}};
input([<<"cancel">>, nil]) -> {aion_cancel, undefined};
input([<<"cancel">>, Reason]) -> {aion_cancel, own(Reason)}.

timeout_kind(<<"schedule_to_start">>) -> schedule_to_start;
timeout_kind(<<"start_to_close">>) -> start_to_close;
timeout_kind(<<"schedule_to_close">>) -> schedule_to_close;
timeout_kind(<<"heartbeat">>) -> heartbeat.

recorded([<<"activity">>, Id, Type, Queue]) -> {activity, Id, own(Type), own(Queue)};
recorded([<<"timer">>, Id]) -> {timer, Id};
recorded([<<"cancel_timer">>, Id]) -> {cancel_timer, Id};
recorded([<<"cancel_activity">>, Id]) -> {cancel_activity, Id}.

%% What a run may keep for long must not keep the whole frame alive.
own(Part) -> binary:copy(Part).

turn_end(nil) -> live;
turn_end([<<"more">>]) -> more;
turn_end([<<"wait">>, <<"signal">>, Name]) -> {wait, signal, own(Name)};
turn_end([<<"wait">>, <<"result">>, Text]) -> {wait, result, own(Text)};
turn_end([<<"wait">>, <<"receive">>, nil]) -> {wait, 'receive', nil}.

-spec encode(report()) -> iodata().
%% One record; a frame is a MessagePack array of them.
encode(Report) -> aion_msgpack:encode(report(Report)).

report({ready, OtpRelease}) -> [64, ?PROTOCOL, {text, OtpRelease}];
report({answer, Request, Verdict, Value}) -> [65, Request, Verdict, Value];
report({waiting, Activation, Seq, Kind, nil, Requests}) -> [66, Activation, Seq, Kind, nil, requests(Requests)];
report({waiting, Activation, Seq, Kind, Name, Requests}) -> [66, Activation, Seq, Kind, {text, Name}, requests(Requests)];
report({completed, Activation, Seq, Json}) -> [67, Activation, Seq, Json];
report({failed, Activation, Seq, Kind, Message, Details}) -> [68, Activation, Seq, Kind, {text, Message}, Details];
report({diverged, Activation, Expected, Found}) -> [69, Activation, {text, Expected}, {text, Found}];
report({caught_up, Activation}) -> [70, Activation];
report({pong, Request}) -> [71, Request];
report({cancelled, Activation, Seq, undefined}) -> [72, Activation, Seq, nil];
report({cancelled, Activation, Seq, Reason}) -> [72, Activation, Seq, {text, Reason}];
report({queried, Activation, Query, Verdict, Value}) -> [73, Activation, Query, Verdict, Value].

requests(Requests) -> [request(R) || R <- Requests].

request({activity, Id, Type, Queue, Input, Options}) -> [activity, Id, {text, Type}, {text, Queue}, Input, Options];
request({timer, Id, DelayMs}) -> [timer, Id, DelayMs];
request({cancel_timer, Id}) -> [cancel_timer, Id];
request({cancel_activity, Id}) -> [cancel_activity, Id].
