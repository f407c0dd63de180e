%% How the calls of aion_flow wait, and what may end a wait beside what the caller asked for: a request to cancel the run, and
%% the time of a scope. What came before a call that may wait is raised at once, what comes during it by a message that is
%% sent to nothing but its receive.
%%
%% A scope is named by its timer. Its time is over when the timer is not open any more; so a run that swallows what was raised
%% gets it again from the next call, until it has left the scope.
-module(aion_flow_wait).
-export([for/3, interrupt/0, scope/2]).

-define(SCOPES, aion_scopes).       % in the process dictionary: timers of the scopes that are open, innermost first
-define(TEXT_BYTES, 255).

-spec interrupt() -> ok.
%% Raises what pends. The first thing in every call that may wait.
interrupt() ->
    case aion_rows:take_cancel() of
        {pending, Reason} -> cancelled(Reason);
        none -> over(lists:reverse(scopes()))
    end.

over([]) -> ok;
over([Outermost | Inner]) ->
    case aion_results:look(Outermost) of
        {open, timer} -> over(Inner);
        _ -> expired(Outermost)
    end.

-spec for(Text :: iodata(), Signal :: binary() | none, [aion_frames:id()]) ->
    {signal, Payload :: binary()} | {ended, [aion_frames:id(), ...]}.
%% Ends the turn and waits for the signal, or for the end of any of these: which of them have come, in the order of the history.
%% `Text` says for people what is waited for.
for(Text, Signal, Ids) ->
    Scopes = scopes(),
    %% Said before blocking, so that the host knows without looking.
    aion_host ! {turn, self(), stay(Text, Signal, Ids, Scopes)},
    receive
        {aion_signal, Signal, Payload} -> {signal, Payload};
        {aion_ended, [First | _] = Ended} ->
            case lists:member(First, Scopes) of
                true -> expired(First);
                false -> {ended, lists:takewhile(fun(Id) -> not lists:member(Id, Scopes) end, Ended)}
            end;
        {aion_cancelled, Reason} -> cancelled(Reason)
    end.

stay(_, Signal, [], []) -> {wait, signal, Signal};
stay(Text, Signal, Ids, Scopes) ->
    All = iolist_to_binary([Text | [[" or timer ", integer_to_list(Timer)] || Timer <- Scopes]]),
    {wait, result, aion_run:cut(All, ?TEXT_BYTES), Signal, Ids ++ Scopes}.

-spec scope(Timer :: aion_frames:id(), fun(() -> Value)) -> {ok, Value} | timeout.
%% Calls the function. When the timer ends before it, what was started inside and is still open is cancelled, in its order.
scope(Timer, Fun) ->
    Outer = scopes(),
    put(?SCOPES, [Timer | Outer]),
    try Fun() of
        Value ->
            put(?SCOPES, Outer),
            case aion_results:look(Timer) of
                none -> too_late(Timer);
                _ ->
                    aion_flow_requests:release([Timer]),
                    {ok, Value}
            end
    catch
        error:{aion_timeout, Timer} ->
            put(?SCOPES, Outer),
            too_late(Timer);
        Class:Reason:Stack ->
            put(?SCOPES, Outer),
            aion_flow_requests:release([Timer]),
            erlang:raise(Class, Reason, Stack)
    end.

too_late(Timer) ->
    aion_flow_requests:cancel_after(Timer),
    timeout.

scopes() ->
    case get(?SCOPES) of
        undefined -> [];
        Scopes -> Scopes
    end.

-spec expired(aion_frames:id()) -> no_return().
expired(Timer) ->
    aion_results:take(Timer),
    error({aion_timeout, Timer}).

-spec cancelled(aion_frames:reason()) -> no_return().
cancelled(Reason) ->
    ok = aion_rows:raised(Reason),
    error({aion_cancelled, Reason}).
