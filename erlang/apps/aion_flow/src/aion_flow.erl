%% The SDK for workflow authors.
%%
%% A workflow is Module:Function(Argument): Argument is the input's JSON text (`null` when there is none). `{ok, V}` or any
%% other term completes the run, `{error, V}` or a crash fails it; results are written as encode/1 does. What a workflow
%% does must depend only on its argument, its signals and the functions below: after a crash it is run again from the
%% start, with the same inputs at the same places.
%%
%% Signals are messages {aion_signal, Name, PayloadJson}; a plain `receive` may take them, too.
%%
%% Calls that may wait raise the error {aion_cancelled, Reason} once after a request to cancel the run, Reason being its text
%% or `undefined`. Not caught, it ends the run as cancelled; a run that catches it may clean up, wait again, and end as it likes.
-module(aion_flow).
-export([decode/1, encode/1, info/0, now/0, publish/1, receive_signal/1]).

-type info() :: #{
    namespace := binary(), workflow_id := binary(), run_id := binary(), workflow_type := binary(), version := binary()
}.
-export_type([info/0]).

-spec receive_signal(Name :: binary() | atom()) -> {ok, PayloadJson :: binary()}.
%% The oldest signal of this name that was not taken yet; waits for it if there is none. The payload is JSON text, `null`
%% when the signal has none.
receive_signal(Name) when is_atom(Name) -> receive_signal(atom_to_binary(Name));
receive_signal(Name) when is_binary(Name) -> {ok, await(aion_signal, Name, {wait, signal, Name})}.

%% Every call that may wait does it here: for the oldest message {Tag, Key, Value}. A request to cancel that came before the
%% call is raised at once; one that comes during the wait is a message, sent to nothing but this receive.
await(Tag, Key, Wait) ->
    case aion_rows:take_cancel() of
        {pending, Early} -> cancelled(Early);
        none -> ok
    end,
    receive {Tag, Key, Value} -> Value
    after 0 ->
        %% Said before blocking, so that the host knows without looking.
        aion_host ! {turn, self(), Wait},
        receive
            {Tag, Key, Value} -> Value;
            {aion_cancelled, Reason} -> cancelled(Reason)
        end
    end.

-spec cancelled(aion_frames:reason()) -> no_return().
cancelled(Reason) ->
    ok = aion_rows:raised(Reason),
    error({aion_cancelled, Reason}).

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
