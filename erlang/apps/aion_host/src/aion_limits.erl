%% The limits that the VM was started with: the Python side's `aion_common.limits` decides.
-module(aion_limits).
-export([boot/0, heap_words/0, query_ms/0, result_bytes/0, text_bytes/0, turn_bytes/0, turn_requests/0]).

-spec boot() -> ok.
%% Reads the arguments -aion_heap_bytes, -aion_query_ms, -aion_result_bytes, -aion_text_bytes, -aion_turn_bytes and
%% -aion_turn_requests.
boot() ->
    persistent_term:put(aion_heap_words, argument(aion_heap_bytes) div erlang:system_info(wordsize)),
    persistent_term:put(aion_query_ms, argument(aion_query_ms)),
    persistent_term:put(aion_result_bytes, argument(aion_result_bytes)),
    persistent_term:put(aion_text_bytes, argument(aion_text_bytes)),
    persistent_term:put(aion_turn_bytes, argument(aion_turn_bytes)),
    persistent_term:put(aion_turn_requests, argument(aion_turn_requests)).

argument(Flag) ->
    {ok, [[Text]]} = init:get_argument(Flag),
    list_to_integer(Text).

-spec heap_words() -> pos_integer().
%% Heap of the process of a run, or of a query.
heap_words() -> persistent_term:get(aion_heap_words).

-spec query_ms() -> pos_integer().
%% How long a query may wait and run.
query_ms() -> persistent_term:get(aion_query_ms).

-spec result_bytes() -> pos_integer().
%% JSON of one result, of an answer to a query or of an activity's input; a published term.
result_bytes() -> persistent_term:get(aion_result_bytes).

-spec text_bytes() -> pos_integer().
%% Messages for people.
text_bytes() -> persistent_term:get(aion_text_bytes).

-spec turn_bytes() -> pos_integer().
%% What a turn asks for, as far as the history holds it.
turn_bytes() -> persistent_term:get(aion_turn_bytes).

-spec turn_requests() -> pos_integer().
%% What a turn asks for: timers and activities that it starts or cancels.
turn_requests() -> persistent_term:get(aion_turn_requests).
