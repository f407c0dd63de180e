%% The host inside the VM: owns the port, keeps which activation is which process, and moves what arrives to where it
%% belongs. It never computes; runs, loads, checks, encoding and printing have processes of their own.
%%
%% At high priority, on a VM with one scheduler: a run executes only when the host has nothing to do, or while a garbage
%% collection of the host is done elsewhere. So what a run may see of a turn's inputs is there before it is woken (aion_giver).
-module(aion_host).
-export([start/1]).

-define(LARGE_BYTES, 1 bsl 20).

-record(run, {
    pid :: pid(),
    module :: module(),
    turns :: aion_turns:turns(),
    turn = 0 :: non_neg_integer(),         % counts turns begun, for the poller
    seen = none :: aion_poll:mark(),       % the soft wait in which the run was seen last
    queried = never :: never | held | passed   % whether it had queries, and whether they wait for the end of its replay
}).
-record(host, {
    port :: port(),
    writer :: pid(),
    io :: pid(),
    bell :: aion_poll:bell(),
    queries :: pid(),
    runs = #{} :: #{aion_frames:activation() => #run{}},
    activations = #{} :: #{pid() => aion_frames:activation()},
    starts = #{} :: #{aion_frames:activation() => aion_frames:start()},                  % more history follows
    modules = #{} :: #{{load | check, aion_frames:ticket()} => aion_frames:parts()}     % more modules follow
}).

-spec start(aion_code:libraries()) -> ok.
%% Called by the boot script.
start(Libraries) ->
    ok = aion_code:boot(Libraries),
    ok = aion_limits:boot(),
    spawn(fun main/0),
    ok.

main() ->
    try
        {ok, [[Fd]]} = init:get_argument(aion_fd),
        boot(list_to_integer(Fd))
    catch Class:Reason:Stack ->
        erlang:display({host, Class, Reason, Stack}),
        halt(1)
    end.

boot(Fd) ->
    register(aion_host, self()),
    process_flag(trap_exit, true),
    process_flag(message_queue_data, off_heap),
    process_flag(priority, high),
    ok = aion_rows:boot(),
    ok = aion_results:boot(),
    %% Read by the poller: {Activation, Pid, Turn, Seen} of every run whose turn has not ended.
    ets:new(aion_open, [named_table, protected]),
    Io = aion_io:start_link(),
    group_leader(Io, self()),
    Port = open_port({fd, Fd, Fd}, [binary, {packet, 4}, eof]),
    Writer = aion_writer:start_link(Port),
    Writer ! {out, {ready, list_to_binary(erlang:system_info(otp_release))}},
    Bell = aion_poll:start_link(self()),
    Queries = aion_query:start_link(Writer),
    loop(#host{port = Port, writer = Writer, io = Io, bell = Bell, queries = Queries}).

loop(#host{port = Port} = Host) ->
    receive
        {Port, {data, Frame}} -> loop(tidy(byte_size(Frame), lists:foldl(fun order/2, Host, aion_frames:decode(Frame))));
        {turn, Pid, End} -> loop(turn_ended(Pid, End, Host));
        {request, Pid, Request} -> loop(requested(Pid, Request, Host));
        {polled, Activation, Turn, Mark} -> loop(found_waiting(Activation, Turn, Mark, Host));
        {stuck, Activation, Turn} -> loop(found_stuck(Activation, Turn, Host));
        {'DOWN', _, process, Pid, Reason} -> loop(process_ended(Pid, Reason, Host));
        {killed, Pid, Why} -> loop(turn_ended(Pid, killed(Why), Host));
        %% Nobody is left to write to: what is queued for output must not delay the end.
        {Port, eof} -> erlang:halt(0, [{flush, false}]);
        {'EXIT', _, _} -> erlang:halt(1, [{flush, false}]);
        _ -> loop(Host)
    end.

%% A large frame is a take-over or a package: what its decoding left would else stay until there is as much traffic again.
tidy(Bytes, Host) when Bytes > ?LARGE_BYTES ->
    garbage_collect(),
    Host;
tidy(_, Host) -> Host.

order({start, #{activation := Activation, more := true} = Start}, #host{starts = Starts} = Host) ->
    Host#host{starts = Starts#{Activation => Start}};
order({start, Start}, Host) -> start_run(Start, Host);
order({history, Activation, Turns, More}, Host) -> history(Activation, Turns, More, Host);
order({deliver, Activation, Turn}, #host{runs = Runs} = Host) ->
    case Runs of
        #{Activation := Run} -> deliver(Activation, Run, Turn, Host);
        _ -> Host
    end;
order({kill, Activation}, #host{runs = Runs, starts = Starts} = Host) ->
    case Runs of
        #{Activation := #run{pid = Pid}} ->
            exit(Pid, kill),
            forget(Activation, Host);
        _ -> Host#host{starts = maps:remove(Activation, Starts)}
    end;
order({query, Activation, Query, Name, Arguments}, #host{runs = Runs, queries = Queries} = Host) ->
    case Runs of
        #{Activation := #run{pid = Pid, module = Module, turns = Turns} = Run} ->
            {Stage, Queried} = case aion_turns:is_live(Turns) of true -> {ready, passed}; false -> {held, held} end,
            Queries ! {ask, Activation, Query, {Pid, Module, Name, Arguments}, Stage},
            keep(Activation, Run#run{queried = Queried}, Host);
        _ -> Host
    end;
order({ping, Request}, #host{port = Port, writer = Writer} = Host) ->
    %% Past the writer, who takes turns with the runs: a VM that is only busy answers in time.
    case port_command(Port, [<<16#91>>, aion_frames:encode({pong, Request})], [nosuspend]) of
        true -> Host;
        false -> out({pong, Request}, Writer), Host
    end;
order({Kind, Request, Parts, More}, #host{modules = Modules} = Host) ->
    All = maps:get({Kind, Request}, Modules, []) ++ Parts,
    case More of
        true -> Host#host{modules = Modules#{{Kind, Request} => All}};
        false ->
            read_modules(Kind, Request, All, Host#host.writer),
            Host#host{modules = maps:remove({Kind, Request}, Modules)}
    end.

read_modules(Kind, Request, Parts, Writer) ->
    spawn(fun() ->
        {Verdict, Value} =
            try with_modules(Kind, aion_code:join(Parts))
            catch Class:Reason:Stack ->
                Text = io_lib:format("~0tp: ~0tp ~0tp", [Class, Reason, Stack], [{chars_limit, aion_limits:text_bytes()}]),
                {error, {text, unicode:characters_to_binary(Text)}}
            end,
        out({answer, Request, Verdict, Value}, Writer)
    end).

with_modules(load, Modules) -> aion_code:load(Modules);
with_modules(check, Modules) -> aion_check:check(Modules).

history(Activation, Turns, More, #host{starts = Starts} = Host) ->
    case maps:take(Activation, Starts) of
        {#{turns := Before} = Start, Others} ->
            order({start, Start#{turns := Before ++ Turns, more := More}}, Host#host{starts = Others});
        error -> Host
    end.

start_run(#{activation := Activation, turns := Turns} = Start, Host) ->
    {NowMs, Gifts, State} = aion_turns:new(Turns),
    case entry(Start) of
        {Module, Function} ->
            Pid = spawn_run(Module, Function, Start, NowMs, Gifts),
            begin_turn(Activation, #run{pid = Pid, module = Module, turns = State}, none, note(Activation, Pid, Host));
        none ->
            #{module := Module, function := Function} = Start,
            Message = <<Module/binary, ":", Function/binary, "/1 is not exported by the package">>,
            {Actions, _} = aion_turns:ended({failed, bad_entry, Message, nil}, State),
            [out(report(Action, Activation), Host#host.writer) || Action <- Actions],
            Host
    end.

entry(#{module := Module, function := Function}) ->
    try
        Entry = {binary_to_existing_atom(Module), binary_to_existing_atom(Function)},
        true = erlang:function_exported(element(1, Entry), element(2, Entry), 1),
        Entry
    catch error:_ -> none
    end.

spawn_run(Module, Function, #{argument := Argument, info := Info}, NowMs, Gifts) ->
    Heap = #{size => aion_limits:heap_words(), kill => true, error_logger => true},
    {Pid, _} = spawn_opt(aion_run, run, [Module, Function, Argument], [monitor, {max_heap_size, Heap}]),
    ok = aion_rows:add(Pid, NowMs, Info),
    Pid ! {aion_begin, Gifts},
    Pid.

note(Activation, Pid, #host{activations = Activations} = Host) ->
    Host#host{activations = Activations#{Pid => Activation}}.

%% A turn is under way from here; a wait that was seen as `Seen` before is not its end.
begin_turn(Activation, #run{pid = Pid, turn = Turn} = Run, Seen, #host{bell = Bell} = Host) ->
    ets:insert(aion_open, {Activation, Pid, Turn + 1, Seen}),
    aion_poll:opened(Bell),
    keep(Activation, Run#run{turn = Turn + 1}, Host).

keep(Activation, #run{queried = held, turns = Turns} = Run, #host{queries = Queries} = Host) ->
    case aion_turns:is_live(Turns) of
        true ->
            Queries ! {caught_up, Activation},
            put_run(Activation, Run#run{queried = passed}, Host);
        false -> put_run(Activation, Run, Host)
    end;
keep(Activation, Run, Host) -> put_run(Activation, Run, Host).

put_run(Activation, Run, #host{runs = Runs} = Host) -> Host#host{runs = Runs#{Activation => Run}}.

forget(Activation, #host{runs = Runs, activations = Activations} = Host) ->
    #{Activation := #run{pid = Pid, queried = Queried}} = Runs,
    ets:delete(aion_open, Activation),
    ok = aion_rows:drop(Pid),
    Queried =:= never orelse (Host#host.queries ! {forget, Activation}),
    Host#host{runs = maps:remove(Activation, Runs), activations = maps:remove(Pid, Activations)}.

turn_ended(Pid, End, #host{activations = Activations, runs = Runs} = Host) ->
    case Activations of
        #{Pid := Activation} -> advance(Activation, map_get(Activation, Runs), End, Host);
        _ -> Host
    end.

advance(Activation, #run{turns = Turns} = Run, End, Host) ->
    {Actions, Turns1} = aion_turns:ended(End, Turns),
    perform(Actions, Activation, Run#run{turns = Turns1}, Host).

requested(Pid, Request, #host{activations = Activations, runs = Runs} = Host) ->
    case Activations of
        #{Pid := Activation} ->
            #{Activation := #run{turns = Turns} = Run} = Runs,
            {Actions, Turns1} = aion_turns:request(Request, Turns),
            perform(Actions, Activation, Run#run{turns = Turns1}, Host);
        _ -> Host
    end.

found_waiting(Activation, Turn, Mark, #host{runs = Runs} = Host) ->
    case Runs of
        #{Activation := #run{turn = Turn, turns = Turns} = Run} ->
            case aion_turns:wait(Turns) of
                none -> advance(Activation, Run#run{seen = Mark}, {wait, 'receive', nil}, Host);
                _ -> Host
            end;
        _ -> Host
    end.

found_stuck(Activation, Turn, #host{runs = Runs} = Host) ->
    case Runs of
        #{Activation := #run{turn = Turn, turns = Turns} = Run} ->
            {Actions, Turns1} = aion_turns:stuck(Turns),
            perform(Actions, Activation, Run#run{turns = Turns1}, Host);
        _ -> Host
    end.

%% A run that was left in a soft wait may have gone on since. If it is on its way, what is delivered must wait for the end
%% of that turn; if it waits again, that turn has ended and nobody has told yet.
deliver(Activation, #run{turns = Turns, pid = Pid, seen = Seen} = Run, Turn, Host) ->
    case aion_turns:wait(Turns) =:= {wait, 'receive', nil} andalso aion_poll:look(Pid, Seen) of
        busy -> hold(Activation, Run, Turn, Host);
        {same_wait, Mark} -> give(Activation, Run#run{seen = Mark}, Turn, Host);
        {new_wait, Mark} -> caught_in_new_wait(Activation, Mark, Turn, Host);
        false -> give(Activation, Run, Turn, Host)
    end.

%% What the run has said on its way there may not have been read yet; maybe it waits in the SDK, and has said so.
caught_in_new_wait(Activation, Mark, Turn, #host{runs = Runs} = Host) ->
    #{Activation := #run{pid = Pid, turns = Turns} = Run} = Runs,
    receive
        {request, Pid, Request} ->
            {_, Turns1} = aion_turns:request(Request, Turns),
            caught_in_new_wait(Activation, Mark, Turn, keep(Activation, Run#run{turns = Turns1}, Host));
        {turn, Pid, End} ->
            case advance(Activation, Run, End, Host) of
                #host{runs = #{Activation := Run1}} = Host1 -> give(Activation, Run1, Turn, Host1);
                Host1 -> Host1
            end
    after 0 ->
        #host{runs = #{Activation := Run1}} = Host1 = advance(Activation, Run#run{seen = Mark}, {wait, 'receive', nil}, Host),
        give(Activation, Run1, Turn, Host1)
    end.

give(Activation, #run{turns = Turns} = Run, Turn, Host) ->
    {Actions, Turns1} = aion_turns:deliver(Turn, Turns),
    perform(Actions, Activation, Run#run{turns = Turns1}, Host).

hold(Activation, #run{turns = Turns, seen = Seen} = Run, Turn, Host) ->
    begin_turn(Activation, Run#run{turns = aion_turns:hold(Turn, Turns)}, Seen, Host).

perform([], Activation, #run{turns = Turns} = Run, Host) ->
    aion_turns:wait(Turns) =:= none orelse ets:delete(aion_open, Activation),
    keep(Activation, Run, Host);
perform([{give, NowMs, Gifts} | Rest], Activation, Run, Host) ->
    hand_over(Run, NowMs, Gifts),
    begun(Rest, Activation, begin_turn(Activation, Run, none, Host));
perform([watch | Rest], Activation, #run{seen = Seen} = Run, Host) ->
    begun(Rest, Activation, begin_turn(Activation, Run, Seen, Host));
perform([{add, NowMs, Gifts} | Rest], Activation, Run, Host) ->
    hand_over(Run, NowMs, Gifts),
    perform(Rest, Activation, Run, Host);
perform([Action | Rest], Activation, #run{pid = Pid} = Run, #host{writer = Writer} = Host) ->
    out(report(Action, Activation), Writer),
    case what_follows(Action) of
        another_turn -> perform(Rest, Activation, Run, Host);
        nothing -> forget(Activation, Host);
        death ->
            exit(Pid, kill),
            forget(Activation, Host)
    end.

begun(Rest, Activation, #host{runs = Runs} = Host) -> perform(Rest, Activation, map_get(Activation, Runs), Host).

hand_over(#run{pid = Pid}, NowMs, Gifts) ->
    ok = aion_rows:at(Pid, NowMs),
    aion_run:give(Pid, Gifts).

report({report, {wait, Kind, Name}, Seq, Requests}, Activation) -> {waiting, Activation, Seq, Kind, Name, Requests};
report({report, {completed, Json}, Seq, _}, Activation) -> {completed, Activation, Seq, Json};
report({report, {cancelled, Reason}, Seq, _}, Activation) -> {cancelled, Activation, Seq, Reason};
report({report, {failed, Kind, Message, Details}, Seq, _}, Activation) ->
    {failed, Activation, Seq, Kind, Message, Details};
report(caught_up, Activation) -> {caught_up, Activation};
report({diverged, Expected, Found}, Activation) -> {diverged, Activation, Expected, Found}.

what_follows({report, {wait, _, _}, _, _}) -> another_turn;
what_follows(caught_up) -> another_turn;
what_follows({report, _, _, _}) -> nothing;
what_follows({diverged, _, _}) -> death.

process_ended(Pid, Reason, #host{activations = Activations} = Host) when is_map_key(Pid, Activations) ->
    untold_end(Pid, Reason, Host);
process_ended(_, _, Host) -> Host.

%% A run that ends by itself says how, and is forgotten then. This one could not say it.
untold_end(Pid, killed, #host{io = Io} = Host) ->
    Io ! {why_killed, self(), Pid},
    Host;
untold_end(Pid, Reason, Host) ->
    Text = io_lib:format("the run's process was ended by an exit signal: ~0tp", [Reason], [{chars_limit, 1000}]),
    turn_ended(Pid, {failed, crash, unicode:characters_to_binary(Text), nil}, Host).

killed(heap) ->
    Bytes = integer_to_binary(aion_limits:heap_words() * erlang:system_info(wordsize)),
    {failed, limit, <<"the run's heap went over ", Bytes/binary, " bytes">>, nil};
killed(unknown) -> {failed, crash, <<"the run's process was killed by other code">>, nil}.

out(Report, Writer) ->
    Writer ! {out, Report},
    ok.
