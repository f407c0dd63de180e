%% One process per run: runs Module:Function(Argument), tells the host how it ended.
-module(aion_run).
-export([finish_of/1, run/4]).

-spec run(module(), atom(), Argument :: binary(), [aion_frames:input()]) -> ok.
%% Body of the process. Exits of what the workflow links to arrive as messages.
run(Module, Function, Argument, Inputs) ->
    process_flag(trap_exit, true),
    [self() ! Input || Input <- Inputs],
    Finish =
        try Module:Function(Argument) of
            Result -> finish_of(Result)
        catch Class:Reason:Stack -> crash(Class, Reason, Stack)
        end,
    aion_host ! {turn, self(), Finish},
    ok.

-spec finish_of(term()) -> aion_turns:finish().
%% What a run's result means.
finish_of({ok, Value}) -> completed(aion_json:encode(Value));
finish_of({error, Value}) -> failed(aion_json:encode(Value), Value);
finish_of(Value) -> completed(aion_json:encode(Value)).

completed({ok, Json}) ->
    Max = aion_limits:result_bytes(),
    case byte_size(Json) of
        Bytes when Bytes > Max -> {failed, limit, too_large("result", Bytes, Max), nil};
        _ -> {completed, Json}
    end;
completed({error, Why}) -> {failed, bad_result, short([<<"the result cannot be JSON: ">>, Why]), nil}.

failed({ok, Json}, Value) ->
    Max = aion_limits:result_bytes(),
    case byte_size(Json) of
        Bytes when Bytes > Max -> {failed, error, too_large("error value", Bytes, Max), nil};
        _ -> {failed, error, short(message(Value, Json)), Json}
    end;
failed({error, Why}, _) -> {failed, bad_result, short([<<"the error value cannot be JSON: ">>, Why]), nil}.

too_large(What, Bytes, Max) ->
    iolist_to_binary(io_lib:format("the ~s has ~b bytes of JSON; ~b are allowed", [What, Bytes, Max])).

message(Value, _) when is_binary(Value) -> Value;
message(Value, _) when is_atom(Value) -> atom_to_binary(Value);
message(_, Json) -> Json.

crash(Class, Reason, Stack) ->
    Word = atom_to_binary(Class),
    ReasonText = text("~0tp", [Reason]),
    Details = [<<"{\"class\":">>, aion_json:quote(Word), <<",\"reason\":">>, aion_json:quote(ReasonText),
               <<",\"stacktrace\":">>, aion_json:quote(text("~tp", [Stack])), $}],
    {failed, crash, short([Word, <<": ">>, ReasonText, place(Stack)]), iolist_to_binary(Details)}.

place([{M, F, Arity, _} | _]) when is_integer(Arity) -> place(M, F, Arity);
place([{M, F, Args, _} | _]) when is_list(Args) -> place(M, F, length(Args));
place(_) -> <<>>.

place(M, F, Arity) -> text(" in ~0tp:~0tp/~b", [M, F, Arity]).

text(Format, Args) ->
    short(unicode:characters_to_binary(io_lib:format(Format, Args, [{chars_limit, aion_limits:text_bytes()}]))).

%% Cut at the limit, between characters.
short(Text) -> cut(iolist_to_binary(Text), aion_limits:text_bytes()).

cut(Text, Max) ->
    case Text of
        <<Head:Max/binary, Next, _/binary>> when Next band 16#c0 =/= 16#80 -> Head;
        <<_:Max/binary, _, _/binary>> -> cut(Text, Max - 1);
        _ -> Text
    end.
