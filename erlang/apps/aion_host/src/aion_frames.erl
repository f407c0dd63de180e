%% Frames to records and back (schemas/beam/frames.md is the contract). Pure.
-module(aion_frames).
-export([decode/1, encode/1]).

-define(PROTOCOL, 2).

-type activation() :: non_neg_integer().
-type request() :: non_neg_integer().
-type reason() :: binary() | undefined.
-type input() :: {aion_signal, Name :: binary(), Payload :: binary()} | {aion_cancel, reason()}.
-type wait() :: {wait, signal, Name :: binary()} | {wait, 'receive', nil}.
%% {Observed seq, time of the newest event given, inputs first given at this turn, its end}. The end `live` is not
%% recorded yet; after `more` the next turn of the list brings further inputs of the same turn.
-type turn() :: {non_neg_integer(), integer(), [input()], wait() | live | more}.
-type parts() :: [{Name :: binary(), Part :: binary()}].
-type start() :: #{activation := activation(), module := binary(), function := binary(), argument := binary(),
                   info := #{atom() => binary()}, turns := [turn()], more := boolean()}.
-type order() :: {load | check, request(), parts(), More :: boolean()}
               | {start, start()}
               | {history, activation(), [turn()], More :: boolean()}
               | {deliver, activation(), turn()}
               | {kill, activation()}
               | {ping, request()}
               | {query, activation(), request(), Name :: binary(), Arguments :: binary()}.
-type report() :: {ready, OtpRelease :: binary()}
                | {answer, request(), ok | error, aion_msgpack:writable()}
                | {waiting, activation(), Seq :: non_neg_integer(), signal | 'receive', binary() | nil}
                | {completed, activation(), Seq :: non_neg_integer(), Json :: binary()}
                | {failed, activation(), Seq :: non_neg_integer(), Kind :: atom(), Message :: binary(),
                   Details :: binary() | nil}
                | {cancelled, activation(), Seq :: non_neg_integer(), reason()}
                | {diverged, activation(), Expected :: binary(), Found :: binary()}
                | {caught_up, activation()}
                | {pong, request()}
                | {queried, activation(), request(), ok | error, aion_msgpack:writable()}.
-export_type([activation/0, request/0, reason/0, input/0, wait/0, turn/0, parts/0, start/0, order/0, report/0]).

-spec decode(binary()) -> [order()].
%% Everything in a frame comes from our own peer: what does not fit is a bug and crashes.
decode(Frame) -> [order(R) || R <- aion_msgpack:decode(Frame)].

order([1, Request, Modules, More]) -> {load, Request, parts(Modules), More};
order([2, Request, Modules, More]) -> {check, Request, parts(Modules), More};
order([3, Activation, Module, Function, Argument, Info, Turns, More]) ->
    {start, #{activation => Activation, module => Module, function => Function, argument => own(Argument),
              info => info(Info), turns => turns(Turns), more => More}};
order([4, Activation, Turns, More]) -> {history, Activation, turns(Turns), More};
order([5, Activation, Seq, NowMs, Inputs, true]) -> {deliver, Activation, {Seq, NowMs, inputs(Inputs), more}};
order([5, Activation, Seq, NowMs, Inputs, false]) -> {deliver, Activation, {Seq, NowMs, inputs(Inputs), live}};
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

turns(Turns) -> [{Seq, NowMs, inputs(Inputs), turn_end(End)} || [Seq, NowMs, Inputs, End] <- Turns].

inputs(Inputs) -> [input(I) || I <- Inputs].

input([<<"signal">>, Name, Payload]) -> {aion_signal, own(Name), own(Payload)};
input([<<"cancel">>, nil]) -> {aion_cancel, undefined};
input([<<"cancel">>, Reason]) -> {aion_cancel, own(Reason)}.

%% What a run may keep for long must not keep the whole frame alive.
own(Part) -> binary:copy(Part).

turn_end(nil) -> live;
turn_end([<<"more">>]) -> more;
turn_end([<<"wait">>, <<"signal">>, Name]) -> {wait, signal, Name};
turn_end([<<"wait">>, <<"receive">>, nil]) -> {wait, 'receive', nil}.

-spec encode(report()) -> iodata().
%% One record; a frame is a MessagePack array of them.
encode(Report) -> aion_msgpack:encode(report(Report)).

report({ready, OtpRelease}) -> [64, ?PROTOCOL, {text, OtpRelease}];
report({answer, Request, Verdict, Value}) -> [65, Request, Verdict, Value];
report({waiting, Activation, Seq, Kind, nil}) -> [66, Activation, Seq, Kind, nil];
report({waiting, Activation, Seq, Kind, Name}) -> [66, Activation, Seq, Kind, {text, Name}];
report({completed, Activation, Seq, Json}) -> [67, Activation, Seq, Json];
report({failed, Activation, Seq, Kind, Message, Details}) -> [68, Activation, Seq, Kind, {text, Message}, Details];
report({diverged, Activation, Expected, Found}) -> [69, Activation, {text, Expected}, {text, Found}];
report({caught_up, Activation}) -> [70, Activation];
report({pong, Request}) -> [71, Request];
report({cancelled, Activation, Seq, undefined}) -> [72, Activation, Seq, nil];
report({cancelled, Activation, Seq, Reason}) -> [72, Activation, Seq, {text, Reason}];
report({queried, Activation, Query, Verdict, Value}) -> [73, Activation, Query, Verdict, Value].
