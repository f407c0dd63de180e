%% The deploy check, in a throw-away VM: do all modules of a package load here, what in them is not the same on replay, and
%% what do they call that no VM has.
-module(aion_check).
-export([check/1]).

-define(WARNINGS_MAX, 100).

-type module_beam() :: {Name :: binary(), Beam :: binary()}.

-spec check([module_beam()]) -> {ok, aion_msgpack:writable()} | {error, {text, binary()}}.
%% ok: [OTP release, whether a run may go on without input, warnings]. error: a sentence for the package's author.
check(Modules) ->
    case prepared(Modules, []) of
        {ok, Prepared} ->
            ok = erlang:finish_loading(Prepared),
            {Wakes, Warnings} = lists:unzip([inspect(M) || M <- Modules]),
            {ok, [{text, release()}, lists:member(true, Wakes), [{text, W} || W <- bounded(lists:append(Warnings))]]};
        {error, Why} -> {error, {text, Why}}
    end.

release() -> list_to_binary(erlang:system_info(otp_release)).

prepared([], Done) -> {ok, Done};
prepared([{Name, Beam} = M | Rest], Done) ->
    case refusal(M) of
        none ->
            Code = erlang:prepare_loading(binary_to_atom(Name), Beam),
            prepared(Rest, [Code | Done]);
        Why -> {error, <<"module ", Name/binary, " ", Why/binary>>}
    end.

refusal({Name, Beam}) ->
    Module = binary_to_atom(Name),
    case aion_code:is_own(Module) orelse erlang:prepare_loading(Module, Beam) of
        true -> <<"has the name of a module that belongs to the VM">>;
        {error, Why} -> does_not_load(Why, Beam);
        Code ->
            case erlang:has_prepared_code_on_load(Code) orelse imports(load_nif, Beam) of
                true -> <<"loads native code (on_load or erlang:load_nif), which is not allowed">>;
                false -> none
            end
    end.

does_not_load(Why, Beam) ->
    iolist_to_binary(io_lib:format("does not load (~0tp): it was compiled by ~s, this cluster runs Erlang/OTP ~s",
                                   [Why, compiled_by(Beam), release()])).

compiled_by(Beam) ->
    try
        {ok, {_, [{compile_info, Properties}]}} = beam_lib:chunks(Beam, [compile_info]),
        {version, Version} = lists:keyfind(version, 1, Properties),
        compiler(Version, string:split(Version, ".", all))
    catch _:_ -> "an unknown compiler"
    end.

compiler(_, ["7", "6" | _]) -> "Erlang/OTP 23";
compiler(_, ["8", Minor | _]) when Minor =:= "0"; Minor =:= "1" -> "Erlang/OTP 24";
compiler(_, ["8", "2" | _]) -> "Erlang/OTP 25";
compiler(_, ["8", Minor | _]) when Minor =:= "3"; Minor =:= "4" -> "Erlang/OTP 26";
compiler(_, ["8", Minor | _]) when Minor =:= "5"; Minor =:= "6" -> "Erlang/OTP 27";
compiler(_, ["9", _ | _]) -> "Erlang/OTP 28";
compiler(Version, _) -> "version " ++ Version ++ " of the Erlang compiler".

imports(Function, Beam) ->
    case beam_lib:chunks(Beam, [imports]) of
        {ok, {_, [{imports, Imports}]}} -> lists:any(fun({M, F, _}) -> {M, F} =:= {erlang, Function} end, Imports);
        _ -> false
    end.

bounded(Warnings) ->
    case length(Warnings) - ?WARNINGS_MAX of
        More when More > 0 ->
            lists:sublist(Warnings, ?WARNINGS_MAX) ++ [iolist_to_binary([integer_to_list(More), " further warnings"])];
        _ -> Warnings
    end.

inspect({Name, Beam}) ->
    try
        {beam_file, _, _, _, _, Functions} = beam_disasm:file(Beam),
        Uses = [{function, F, A, uses(Code)} || {function, F, A, _, Code} <- Functions],
        {lists:any(fun({_, _, _, U}) -> lists:any(fun wakes/1, U) end, Uses),
         [sentence(Name, F, A, Use) || {function, F, A, U} <- Uses, Use <- U]}
    catch _:_ ->
        %% It loads, so it may run; what is in it is not known, so the worst is assumed.
        {true, [<<"module ", Name/binary, " cannot be inspected for what is not the same on replay">>]}
    end.

uses(Code) -> lists:usort([U || Instruction <- Code, U <- use(Instruction)]).

use({wait_timeout, _, _}) -> [own_time_out];
use({call_ext, _, {extfunc, M, F, A}}) -> call(M, F, A);
use({call_ext_only, _, {extfunc, M, F, A}}) -> call(M, F, A);
use({call_ext_last, _, {extfunc, M, F, A}, _}) -> call(M, F, A);
use({bif, F, _, Args, _}) -> call(erlang, F, length(Args));
use({gc_bif, F, _, _, Args, _}) -> call(erlang, F, length(Args));
use(_) -> [].

%% The package's own modules are loaded by now; OTP's are, after this question, if a run could call them.
call(M, F, A) ->
    case aion_code:ensure(M) andalso kind(M, F) of
        false -> [{absent, M, F, A}];
        fine -> [];
        Kind -> [{Kind, M, F, A}]
    end.

wakes(own_time_out) -> true;
wakes({timer, _, _, _}) -> true;
wakes(_) -> false.

kind(erlang, F) when F =:= send_after; F =:= start_timer; F =:= send_interval -> timer;
kind(timer, F) when F =:= seconds; F =:= minutes; F =:= hours; F =:= hms -> fine;
kind(timer, _) -> timer;
kind(erlang, F) when F =:= now; F =:= system_time; F =:= monotonic_time; F =:= timestamp; F =:= localtime;
                     F =:= universaltime; F =:= date; F =:= time; F =:= time_offset; F =:= localtime_to_universaltime ->
    time;
kind(calendar, F) when F =:= local_time; F =:= universal_time -> time;
kind(os, F) when F =:= timestamp; F =:= system_time; F =:= perf_counter -> time;
kind(erlang, F) when F =:= unique_integer; F =:= make_ref -> unique;
kind(rand, _) -> random;
kind(random, _) -> random;
kind(erlang, F) when F =:= spawn; F =:= spawn_link; F =:= spawn_monitor; F =:= spawn_opt; F =:= spawn_request -> process;
kind(proc_lib, _) -> process;
kind(gen_server, _) -> process;
kind(erlang, F) when F =:= open_port; F =:= put_env; F =:= halt; F =:= nodes; F =:= processes; F =:= statistics;
                     F =:= system_info; F =:= memory -> outside;
kind(M, _) when M =:= os; M =:= io; M =:= init -> outside;
kind(M, _) when M =:= ets; M =:= dets; M =:= persistent_term; M =:= counters; M =:= atomics -> shared;
kind(_, _) -> fine.

sentence(Module, F, A, own_time_out) ->
    words(Module, F, A, "waits with a time-out of its own", "time of the VM is not durable: after a restart it begins anew");
sentence(Module, F, A, {Kind, M1, F1, A1}) ->
    words(Module, F, A, io_lib:format("calls ~tp:~tp/~b", [M1, F1, A1]), reason(Kind, M1)).

words(Module, F, A, What, Why) ->
    unicode:characters_to_binary(io_lib:format("~ts:~tp/~b ~ts: ~ts", [Module, F, A, What, Why])).

reason(absent, M) -> io_lib:format("the module ~tp is not in the VM, the call will fail with undef", [M]);
reason(Kind, _) -> reason(Kind).

reason(timer) -> "time of the VM is not durable: after a restart it begins anew";
reason(time) -> "the clock differs on replay; aion_flow:now/0 does not";
reason(unique) -> "the value differs on replay";
reason(random) -> "the value differs on replay";
reason(process) -> "other processes run in another order on replay";
reason(outside) -> "what is outside of the run may differ on replay, and is done again by it";
reason(shared) -> "what other runs leave there differs on replay".
