%% The SDK for workflow authors.
%%
%% A workflow is Module:Function(Argument): Argument is the input's JSON text (`null` when there is none). `{ok, V}` or any
%% other term completes the run, `{error, V}` or a crash fails it; results are written as encode/1 does. What a workflow
%% does must depend only on its argument, its signals and the functions below: after a crash it is run again from the
%% start, with the same inputs at the same places.
%%
%% Signals are messages {aion_signal, Name, PayloadJson}; a plain `receive` may take them, too.
-module(aion_flow).
-export([decode/1, encode/1, info/0, now/0, receive_signal/1]).

-type info() :: #{
    namespace := binary(), workflow_id := binary(), run_id := binary(), workflow_type := binary(), version := binary()
}.
-export_type([info/0]).

-spec receive_signal(Name :: binary() | atom()) -> {ok, PayloadJson :: binary()}.
%% The oldest signal of this name that was not taken yet; waits for it if there is none. The payload is JSON text, `null`
%% when the signal has none.
receive_signal(Name) when is_atom(Name) -> receive_signal(atom_to_binary(Name));
receive_signal(Name) when is_binary(Name) ->
    receive {aion_signal, Name, Payload} -> {ok, Payload}
    after 0 ->
        %% Said before blocking, so that the host knows without looking.
        row(),
        aion_host ! {turn, self(), {wait, signal, Name}},
        await_signal(Name)
    end.

await_signal(Name) -> receive {aion_signal, Name, Payload} -> {ok, Payload} end.

-spec now() -> MsSinceEpoch :: integer().
%% When the newest event that this run has been given was recorded: the same in every replay.
now() ->
    {_, NowMs, _} = row(),
    NowMs.

-spec info() -> info().
%% Which run this is.
info() ->
    {_, _, Info} = row(),
    Info.

row() ->
    case ets:lookup(aion_runs, self()) of
        [Row] -> Row;
        [] -> error(not_the_process_of_a_run)
    end.

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
