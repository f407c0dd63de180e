%% An order: reserve its goods, charge its card, wait until it is packed, ship it. If a step fails, or somebody cancels the order,
%% what was done is undone, the last first.
%%
%% Input: {"item": text, "quantity": integer, "cents": integer, "card": text, "pack_within_ms": integer}. Signal `packed`: {"by": text}.
%% Query `stage`: the step that is under way.
-module(fulfillment).
-export([run/1, handle_query/3]).

-define(STEPS, [reserve, charge, pack, ship]).

-spec run(Input :: binary()) -> {ok, map()} | {error, map()}.
run(Input) -> forward(?STEPS, aion_flow:decode(Input), #{}, []).

-spec handle_query(Name :: binary(), Arguments :: binary(), Published :: term()) -> {ok, term()}.
handle_query(<<"stage">>, _, undefined) -> {ok, new};
handle_query(<<"stage">>, _, Stage) -> {ok, Stage}.

%% `Begun`, the last first. A step that failed stands in it as well: it may have done its work and not been able to say so.
forward([], _, Results, _) ->
    aion_flow:publish(done),
    {ok, Results};
forward([Step | Later], Order, Results, Earlier) ->
    Begun = [Step | Earlier],
    aion_flow:publish(Step),
    try step(Step, Order) of
        {ok, Result} -> forward(Later, Order, Results#{Step => Result}, Begun);
        {error, #{kind := <<"bad_input">>} = Why} ->
            %% The worker did not even begin.
            {error, #{failed => Step, why => Why, undone => back(Earlier, Order)}};
        {error, Why} -> {error, #{failed => Step, why => Why, undone => back(Begun, Order)}}
    catch
        error:{aion_cancelled, _} = Cancelled ->
            back(Begun, Order),
            error(Cancelled)
    end.

step(reserve, Order) -> aion_flow:activity(reserve, Order);
step(charge, Order) -> aion_flow:activity(charge, Order, #{retry => #{attempts => 5, initial => 200}, start_to_close => 30000});
step(pack, #{<<"pack_within_ms">> := Ms}) ->
    case aion_flow:receive_signal(packed, Ms) of
        {ok, Packed} -> {ok, Packed};
        timeout -> {error, not_packed}
    end;
step(ship, Order) -> aion_flow:activity(ship, Order).

%% Undoing is tried until it succeeds. What was undone, in order.
back(Begun, Order) ->
    aion_flow:publish(undoing),
    [undo(Activity, Order) || Step <- Begun, Activity <- undoing(Step)].

undo(Activity, Order) ->
    {ok, _} = aion_flow:activity(Activity, Order),
    Activity.

undoing(reserve) -> [release];
undoing(charge) -> [refund];
undoing(pack) -> [];
undoing(ship) -> [call_back].
