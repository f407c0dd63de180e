%% The few functions of the kernel application's `code` that OTP's pure modules call.
-module(code).
-export([ensure_loaded/1, ensure_modules_loaded/1, is_loaded/1]).

-spec ensure_loaded(module()) -> {module, module()} | {error, nofile}.
ensure_loaded(Module) ->
    case aion_code:ensure(Module) of
        true -> {module, Module};
        false -> {error, nofile}
    end.

-spec ensure_modules_loaded([module()]) -> ok | {error, [{module(), nofile}]}.
ensure_modules_loaded(Modules) ->
    case [{M, nofile} || M <- Modules, not aion_code:ensure(M)] of
        [] -> ok;
        Missing -> {error, Missing}
    end.

-spec is_loaded(module()) -> {file, preloaded} | false.
is_loaded(Module) ->
    case erlang:module_loaded(Module) of
        true -> {file, preloaded};
        false -> false
    end.
