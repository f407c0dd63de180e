%% Group leader of the runs, `user`, `standard_error`, and the VM's logger: what is printed goes to stderr, line by line into
%% the executor's log. There is no input. It also knows which processes ended because of their heap limit: the emulator
%% logs it.
-module(aion_io).
-export([start_link/0]).

-define(TEXT_MAX, 4096).
-define(REMEMBERED_MAX, 1000).
%% A large heap is collected by another thread, whose report may come after the process's end.
-define(LATE_MS, 500).

-spec start_link() -> pid().
%% Registered as `logger`, where the emulator sends its reports. Takes {why_killed, From, Pid}, answers
%% {killed, Pid, heap | unknown}. The devices that OTP's own applications would register are the same output.
start_link() ->
    Io = spawn_link(fun() -> loop(open_port({fd, 2, 2}, [out, binary]), []) end),
    register(logger, Io),
    [register(Device, spawn_link(fun() -> pass_on(Io) end)) || Device <- [user, standard_error]],
    Io.

%% A process has one name, so each further name is a process. The answer goes to who asked.
pass_on(Io) ->
    receive
        {io_request, _, _, _} = Request -> Io ! Request;
        _ -> ok
    end,
    pass_on(Io).

%% Over: processes that went over their heap limit, newest first.
loop(Port, Over) ->
    receive
        {io_request, From, ReplyAs, Request} ->
            From ! {io_reply, ReplyAs, request(Port, Request)},
            loop(Port, Over);
        {log, _Level, Format, Args, #{pid := Pid} = Meta} ->
            case is_heap_report(Format, Meta) of
                true -> loop(Port, lists:sublist([Pid | Over], ?REMEMBERED_MAX));
                false ->
                    print(Port, Format, Args),
                    loop(Port, Over)
            end;
        {log, _Level, Format, Args, _} ->
            print(Port, Format, Args),
            loop(Port, Over);
        {why_killed, From, Pid} ->
            case lists:member(Pid, Over) of
                true -> From ! {killed, Pid, heap};
                false -> erlang:send_after(?LATE_MS, self(), {why_killed_at_last, From, Pid})
            end,
            loop(Port, lists:delete(Pid, Over));
        {why_killed_at_last, From, Pid} ->
            From ! {killed, Pid, case lists:member(Pid, Over) of true -> heap; false -> unknown end},
            loop(Port, lists:delete(Pid, Over));
        _ -> loop(Port, Over)
    end.

is_heap_report(Format, #{error_logger := #{emulator := true}}) ->
    string:find(unicode:characters_to_binary(Format), <<"maximum heap size">>, trailing) =/= nomatch;
is_heap_report(_, _) -> false.

print(Port, Format, Args) when is_list(Format), is_list(Args) ->
    Text = try io_lib:format(Format, Args, [{chars_limit, ?TEXT_MAX}])
           catch error:_ -> io_lib:format("~0tp ~0tp", [Format, Args], [{chars_limit, ?TEXT_MAX}])
           end,
    write(Port, [Text, $\n]);
print(Port, Kind, Report) -> print(Port, "~0tp ~0tp", [Kind, Report]).

request(Port, {put_chars, Encoding, Chars}) -> put_chars(Port, Chars, Encoding);
request(Port, {put_chars, Encoding, M, F, A}) ->
    try apply(M, F, A) of Chars -> put_chars(Port, Chars, Encoding)
    catch _:_ -> {error, {put_chars, Encoding, M, F, A}}
    end;
request(Port, {requests, Requests}) ->
    lists:foldl(fun(R, _) -> request(Port, R) end, ok, Requests);
request(_, {setopts, _}) -> ok;
request(_, getopts) -> [{binary, true}, {encoding, unicode}];
request(_, _) -> {error, enotsup}.

put_chars(Port, Chars, Encoding) ->
    case unicode:characters_to_binary(Chars, Encoding, unicode) of
        Text when is_binary(Text) -> write(Port, Text);
        _ -> {error, {put_chars, Encoding, Chars}}
    end.

write(Port, Text) ->
    port_command(Port, unicode:characters_to_binary(Text)),
    ok.
