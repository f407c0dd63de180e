%% Code that comes into the VM after it booted: a package's modules, and OTP's own when they are first called.
%%
%% OTP's modules are read in the calling process by a native function, without any message, so that a run that loads one
%% never looks as if it waited. Two that load the same module at once do the same thing twice; nothing is ever purged.
-module(aion_code).
-export([boot/1, ensure/1, is_own/1, join/1, load/1]).
-export_type([libraries/0]).

-type libraries() :: [{Directory :: string(), all | [module()]}].

-spec boot(libraries()) -> ok.
%% Remembers where OTP's modules lie and which of them may be loaded, and the modules that belong to the VM itself.
boot(Libraries) ->
    persistent_term:put(aion_libraries, Libraries),
    persistent_term:put(aion_own, maps:from_keys(erlang:loaded(), own)).

-spec is_own(module()) -> boolean().
%% Whether the module belongs to the VM: no package may replace it.
is_own(Module) -> is_map_key(Module, persistent_term:get(aion_own)).

-spec ensure(module()) -> boolean().
%% Whether the module is loaded, after an attempt to load it from OTP.
ensure(Module) -> erlang:module_loaded(Module) orelse find(Module, persistent_term:get(aion_libraries)).

find(_, []) -> false;
find(Module, [{Directory, Modules} | Rest]) ->
    case Modules =:= all orelse lists:member(Module, Modules) of
        true ->
            case prim_file:read_file(Directory ++ "/" ++ atom_to_list(Module) ++ ".beam") of
                {ok, Beam} -> erlang:load_module(Module, Beam), erlang:module_loaded(Module);
                {error, _} -> find(Module, Rest)
            end;
        false -> find(Module, Rest)
    end.

-spec join(aion_frames:parts()) -> [{Name :: binary(), Beam :: binary()}].
%% Parts of the same module follow one another.
join([{Name, A}, {Name, B} | Rest]) -> join([{Name, [A, B]} | Rest]);
join([{Name, Beam} | Rest]) -> [{Name, iolist_to_binary(Beam)} | join(Rest)];
join([]) -> [].

-spec load([{Name :: binary(), Beam :: binary()}]) -> {ok, nil} | {error, {text, binary()}}.
load([]) -> {ok, nil};
load([{Name, Beam} | Rest]) ->
    %% Atoms of module names are bounded by the package.
    Module = binary_to_atom(Name),
    case not is_own(Module) andalso erlang:load_module(Module, Beam) of
        {module, Module} -> load(Rest);
        false -> {error, {text, <<"the module ", Name/binary, " belongs to the VM">>}};
        {error, Why} ->
            {error, {text, <<"the module ", Name/binary, " does not load: ", (atom_to_binary(Why))/binary>>}}
    end.
