%% An order waits until somebody releases it; then it is priced.
%%
%% Input: {"item": text, "quantity": integer, "unit_price": cents}. Signal `release`: {"by": text}.
-module(order).
-export([run/1]).

-spec run(Input :: binary()) -> {ok, map()}.
run(Input) ->
    #{<<"item">> := Item, <<"quantity">> := Quantity, <<"unit_price">> := Price} = aion_flow:decode(Input),
    {ok, Release} = aion_flow:receive_signal(release),
    #{<<"by">> := By} = aion_flow:decode(Release),
    {ok, #{item => Item, total => Quantity * Price, released_by => By}}.
