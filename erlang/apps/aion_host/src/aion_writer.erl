%% Writes reports to the port. At normal priority on purpose: while runs have work it lets their reports pile up, and
%% sends them as one frame. Bounded frames: the peer refuses larger ones.
-module(aion_writer).
-export([start_link/1]).

-define(RECORDS_MAX, 512).
%% A single record is smaller (limits of results, messages and the requests of a turn), so a frame stays below the peer's 4 MiB.
-define(BYTES_MAX, 1 bsl 20).

-spec start_link(port()) -> pid().
%% Takes {out, aion_frames:report()}.
start_link(Port) ->
    spawn_opt(fun() -> idle(Port) end, [link, {message_queue_data, off_heap}, {priority, normal}]).

idle(Port) ->
    receive {out, Report} -> gather(Port, [aion_frames:encode(Report)], 1, 0) end.

gather(Port, [Newest | _] = Records, N, Bytes) ->
    Total = Bytes + iolist_size(Newest),
    case N < ?RECORDS_MAX andalso Total < ?BYTES_MAX of
        true ->
            receive {out, Report} -> gather(Port, [aion_frames:encode(Report) | Records], N + 1, Total)
            after 0 -> flush(Port, Records, N)
            end;
        false -> flush(Port, Records, N)
    end.

flush(Port, Records, N) ->
    true = port_command(Port, [<<16#dd, N:32>> | lists:reverse(Records)]),
    idle(Port).
