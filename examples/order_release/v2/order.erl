%% An order waits until somebody releases it; then it is priced, since this version with a discount from ten pieces on.
%%
%% Input: {"item": text, "quantity": integer, "unit_price": cents}. Signal `release`: {"by": text}.
-module(order).
-export([run/1]).

-spec run(Input :: binary()) -> {ok, map()}.
run(Input) ->
    #{<<"item">> := Item, <<"quantity">> := Quantity, <<"unit_price">> := Price} = aion_flow:decode(Input),
    {ok, Release} = aion_flow:receive_signal(release),
    #{<<"by">> := By} = aion_flow:decode(Release),
    Full = Quantity * Price,
    Discount = discount(Quantity, Full),
    {ok, #{item => Item, total => Full - Discount, discount => Discount, released_by => By}}.

discount(Quantity, Full) when Quantity >= 10 -> Full div 10;
discount(_Quantity, _Full) -> 0.
