%% Sends a run several messages at once: no run executes in between. The host cannot: when its heap is large a garbage
%% collection takes it to another scheduler, in the middle of anything, and runs go on meanwhile. This process has the highest
%% priority, and a heap that stays too small for that (1 MiB).
-module(aion_giver).
-export([start_link/0]).

-spec start_link() -> pid().
%% Takes {give, pid(), [Message]}.
start_link() -> spawn_opt(fun loop/0, [link, {message_queue_data, off_heap}, {priority, max}]).

loop() ->
    receive
        {give, Pid, Messages} ->
            [Pid ! Message || Message <- Messages],
            loop()
    end.
