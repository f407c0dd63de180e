%% What the emulator calls for a function that is not there. Replaces the kernel application's module in our bare VM: it
%% loads OTP's modules when they are first called.
-module(error_handler).
-export([breakpoint/3, raise_undef_exception/3, stub_function/3, undefined_function/3, undefined_lambda/3]).

-spec undefined_function(module(), atom(), [term()]) -> term().
undefined_function(M, F, Args) ->
    case aion_code:ensure(M) andalso erlang:function_exported(M, F, length(Args)) of
        true -> apply(M, F, Args);
        false -> crash(M, F, Args)
    end.

-spec undefined_lambda(module(), fun(), [term()]) -> term().
undefined_lambda(M, Fun, Args) ->
    case not erlang:module_loaded(M) andalso aion_code:ensure(M) of
        true -> apply(Fun, Args);
        false -> crash(M, Fun, Args)
    end.

-spec breakpoint(module(), atom(), [term()]) -> no_return().
breakpoint(M, F, Args) -> crash(M, F, Args).

-spec raise_undef_exception(module(), atom(), [term()]) -> no_return().
raise_undef_exception(M, F, Args) -> crash(M, F, Args).

-spec stub_function(module(), atom(), [term()]) -> no_return().
stub_function(M, F, Args) -> crash(M, F, Args).

%% The stack trace begins with the call that failed, as if this module were not there.
-spec crash(module(), atom() | fun(), [term()]) -> no_return().
crash(M, F, Args) ->
    try erlang:error(undef)
    catch error:undef:Stack -> erlang:raise(error, undef, [{M, F, Args, []} | tl(Stack)])
    end.
