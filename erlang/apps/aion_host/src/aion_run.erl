%% One process per run: runs Module:Function(Argument), tells the host how it ended.
-module(aion_run).
-export([cut/2, finish/3, give/2, run/3, too_large/4]).

-spec run(module(), atom(), Argument :: binary()) -> ok.
%% Body of the process, which begins when it is told so. Exits of what the workflow links to arrive as messages.
run(Module, Function, Argument) ->
    process_flag(trap_exit, true),
    receive {aion_begin, Gifts} -> [self() ! Message || Message <- given(self(), Gifts)] end,
    aion_host ! {turn, self(), finish(Module, Function, [Argument])},
    ok.

-spec give(pid(), [aion_turns:gift()]) -> ok.
%% To a run that waits. What it looks up is there before the first message, which wakes it.
give(Pid, Gifts) -> aion_giver:give(Pid, given(Pid, Gifts)).

%% Signals are messages; a request to cancel, and the news that something has ended, are messages to a run that waits in the
%% SDK, which takes them. The rest is written where the run looks it up.
given(Pid, Gifts) -> lists:append([given_one(Pid, Gift) || Gift <- Gifts]).

given_one(Pid, {ended, Id, Outcome}) ->
    ok = aion_results:ended(Pid, Id, Outcome),
    [];
given_one(Pid, {pend, Reason}) ->
    ok = aion_rows:cancel(Pid, Reason),
    [];
given_one(_, {wake, Ids}) -> [{aion_ended, Ids}];
given_one(_, {raise, Reason}) -> [{aion_cancelled, Reason}];
given_one(_, Signal) -> [Signal].

-spec finish(module(), atom(), [term()]) -> aion_turns:finish().
%% Calls the function in this process, and what its result means.
finish(Module, Function, Args) ->
    try apply(Module, Function, Args) of
        Result -> finish_of(Result)
    catch Class:Reason:Stack -> crash(Class, Reason, Stack)
    end.

finish_of({ok, Value}) -> completed(aion_json:encode(Value));
finish_of({error, Value}) -> failed(aion_json:encode(Value), Value);
finish_of(Value) -> completed(aion_json:encode(Value)).

completed({ok, Json}) ->
    Max = aion_limits:result_bytes(),
    case byte_size(Json) of
        Bytes when Bytes > Max -> {failed, limit, too_large("result", "JSON", Bytes, Max), nil};
        _ -> {completed, Json}
    end;
completed({error, Why}) -> {failed, bad_result, short([<<"the result cannot be JSON: ">>, Why]), nil}.

failed({ok, Json}, Value) ->
    Max = aion_limits:result_bytes(),
    case byte_size(Json) of
        Bytes when Bytes > Max -> {failed, error, too_large("error value", "JSON", Bytes, Max), nil};
        _ -> {failed, error, short(message(Value, Json)), Json}
    end;
failed({error, Why}, _) -> {failed, bad_result, short([<<"the error value cannot be JSON: ">>, Why]), nil}.

-spec too_large(What :: string(), Form :: string(), pos_integer(), pos_integer()) -> binary().
too_large(What, Form, Bytes, Max) ->
    iolist_to_binary(io_lib:format("the ~s has ~b bytes of ~s; ~b are allowed", [What, Bytes, Form, Max])).

message(Value, _) when is_binary(Value) -> Value;
message(Value, _) when is_atom(Value) -> atom_to_binary(Value);
message(_, Json) -> Json.

%% Only what the SDK raised, and nobody caught, cancels the run.
crash(error, {aion_cancelled, Reason} = Raised, Stack) ->
    case aion_rows:was_raised(Reason) of
        true -> {cancelled, Reason};
        false -> crashed(error, Raised, Stack)
    end;
crash(Class, Reason, Stack) -> crashed(Class, Reason, Stack).

crashed(Class, Reason, Stack) ->
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

-spec cut(binary(), Max :: non_neg_integer()) -> binary().
%% At most so many bytes of UTF-8, in whole characters.
cut(Text, Max) ->
    case Text of
        <<Head:Max/binary, Next, _/binary>> when Next band 16#c0 =/= 16#80 -> Head;
        <<_:Max/binary, _, _/binary>> -> cut(Text, Max - 1);
        _ -> Text
    end.
