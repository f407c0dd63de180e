%% Every form of MessagePack that frames may hold.
-module(aion_msgpack_tests).
-include_lib("eunit/include/eunit.hrl").

round_trip_test_() ->
    Values = [nil, true, false, 0, 1, 127, 128, 255, 256, 65535, 65536, 1 bsl 32, (1 bsl 64) - 1, -1, -32, -33, -128, -129,
              -32768, -32769, -(1 bsl 31), -(1 bsl 31) - 1, -(1 bsl 63), 1.5, -0.0, [], lists:seq(1, 15), lists:seq(1, 16),
              lists:seq(1, 70000), #{}, #{<<"a">> => [1, #{}]}, maps:from_list([{N, N} || N <- lists:seq(1, 300)]) |
              [binary:copy(<<"x">>, N) || N <- [0, 31, 32, 255, 256, 65535, 65536]]],
    [?_assertEqual(V, aion_msgpack:decode(bytes(V))) || V <- Values].

text_round_trip_test_() ->
    [?_assertEqual(binary:copy(<<"x">>, N), aion_msgpack:decode(bytes({text, binary:copy(<<"x">>, N)})))
     || N <- [0, 31, 32, 255, 256, 65535, 65536]].

smallest_forms_test_() ->
    [?_assertEqual(Bytes, bytes(V)) || {V, Bytes} <- [
        {127, <<127>>}, {128, <<16#cc, 128>>}, {-32, <<16#e0>>}, {<<"a">>, <<16#c4, 1, $a>>}, {{text, <<"a">>}, <<16#a1, $a>>},
        {ok, <<16#a2, "ok">>}, {[1], <<16#91, 1>>}, {#{}, <<16#80>>}]].

small_floats_are_read_test() -> ?assertEqual(1.5, aion_msgpack:decode(<<16#ca, 1.5:32/float>>)).

damaged_test_() ->
    [?_assertError(_, aion_msgpack:decode(Bytes))
     || Bytes <- [<<>>, <<16#92, 1>>, <<16#c1>>, <<1, 2>>, <<16#c4, 5, "abc">>, <<16#d4, 1, 1>>]].

bytes(V) -> iolist_to_binary(aion_msgpack:encode(V)).
