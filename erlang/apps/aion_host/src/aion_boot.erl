%% Set-up tool, not part of the VM: run once by an ordinary Erlang, it writes the boot script of our bare VM, which starts
%% the host instead of the kernel application.
-module(aion_boot).
-export([write/1]).

%% First our own modules: OTP's are loaded through them. All of it is loaded before the VM says that it is ready.
-define(OWN, [error_handler, code, aion_code, aion_limits, aion_msgpack, aion_frames, aion_json, aion_turns, aion_rows,
              aion_results, aion_io, aion_poll, aion_writer, aion_giver, aion_run, aion_query, aion_host, aion_check, aion_flow,
              aion_flow_requests, aion_flow_wait]).
%% What nearly every workflow calls. The rest of stdlib is loaded when it is first called.
-define(USUAL, [lists, maps, proplists, string, unicode_util, binary, io, io_lib, io_lib_format, io_lib_pretty, gb_trees,
                gb_sets, ordsets, orddict, queue, calendar, base64, math, unicode, ets]).
%% Of the kernel application only what works without its processes.
-define(KERNEL, [os]).

-spec write([string()]) -> no_return().
%% Writes Directory/aion_host.boot and prints one line that tells Python what it must know of this Erlang.
write([Directory]) ->
    {ok, _} = file:read_file_info(Directory),
    Usual = [M || M <- ?USUAL, not lists:member(M, erlang:pre_loaded())],
    Script = {script, {"aion_host", "1"}, [
        {preLoaded, lists:sort(erlang:pre_loaded())},
        {progress, preloaded},
        {path, ["$AION"]},
        {primLoad, ?OWN},
        {path, [ebin(stdlib)]},
        {primLoad, Usual},
        {kernel_load_completed},
        {progress, kernel_load_completed},
        {progress, modules_loaded},
        {apply, {aion_host, start, [libraries()]}},
        {progress, started}
    ]},
    ok = file:write_file(filename:join(Directory, "aion_host.boot"), term_to_binary(Script)),
    io:format("~ts", [json(#{
        otp_release => erlang:system_info(otp_release),
        erts_version => erlang:system_info(version),
        root => code:root_dir(),
        stdlib => code:lib_dir(stdlib)
    })]),
    halt(0).

libraries() ->
    [{ebin(stdlib), all}, {ebin(compiler), all}, {ebin(kernel), ?KERNEL}].

ebin(Application) -> filename:join(code:lib_dir(Application), "ebin").

json(Facts) ->
    {ok, Json} = aion_json:encode(maps:map(fun(_, Text) -> unicode:characters_to_binary(Text) end, Facts)),
    Json.
