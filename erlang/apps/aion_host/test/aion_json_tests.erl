%% Terms to JSON as results are written, and JSON to terms.
-module(aion_json_tests).
-include_lib("eunit/include/eunit.hrl").

encode_test_() ->
    [{binary_to_list(Json), ?_assertEqual({ok, Json}, aion_json:encode(Term))} || {Term, Json} <- [
        {true, <<"true">>}, {false, <<"false">>}, {null, <<"null">>}, {nil, <<"null">>}, {undefined, <<"null">>},
        {ok, <<"\"ok\"">>}, {'tür', <<"\"tür\""/utf8>>}, {0, <<"0">>}, {-(1 bsl 70), <<"-1180591620717411303424">>},
        {1.5, <<"1.5">>}, {1.0e300, <<"1.0e300">>}, {0.1, <<"0.1">>},
        {[], <<"[]">>}, {{}, <<"[]">>}, {#{}, <<"{}">>}, {{a, [1, {}]}, <<"[\"a\",[1,[]]]">>},
        {#{b => 1, <<"a">> => 2, 10 => 3}, <<"{\"10\":3,\"a\":2,\"b\":1}">>},
        {<<"plain">>, <<"\"plain\"">>}, {<<>>, <<"\"\"">>}, {<<"q\"\\\n", 1>>, <<"\"q\\\"\\\\\\n\\u0001\"">>},
        {<<"123">>, <<"123">>}, {<<" {\"a\": [1]} ">>, <<" {\"a\": [1]} ">>}, {<<"{\"a\": [1}">>, <<"\"{\\\"a\\\": [1}\"">>},
        {<<"null and void">>, <<"\"null and void\"">>}, {[<<"true">>], <<"[true]">>}, {"ab", <<"[97,98]">>}]].

what_json_cannot_hold_test_() ->
    [{binary_to_list(Part), ?_assertNotEqual({nomatch, Term}, {binary:match(error_of(Term), Part), Term})} || {Term, Part} <- [
        {self(), <<"at value is a process">>}, {make_ref(), <<"at value is a reference">>},
        {fun() -> ok end, <<"at value is a function">>}, {<<1:3>>, <<"at value is a bit string">>},
        {<<255>>, <<"at value is a binary that is not UTF-8">>}, {[1 | 2], <<"at value[1] ends a list">>},
        {#{a => [1, {self()}]}, <<"at value.a[1][0] is a process">>}, {#{1.5 => 1}, <<"is a key">>},
        {#{a => 1, <<"a">> => 2}, <<"is a second key">>}]].

too_deep_test() ->
    Deep = lists:foldl(fun(_, Acc) -> [Acc] end, 1, lists:seq(1, 201)),
    ?assertMatch({error, _}, aion_json:encode(Deep)),
    ?assertMatch({ok, _}, aion_json:encode(hd(hd(Deep)))),
    ?assertMatch({error, _}, aion_json:decode(iolist_to_binary([lists:duplicate(201, $[), lists:duplicate(201, $])]))).

numbers_have_a_limit_of_digits_test_() ->
    Nines = binary:copy(<<"9">>, 4096),
    Least = binary_to_integer(Nines) + 1,
    [?_assertEqual({ok, Nines}, aion_json:encode(Least - 1)), ?_assertMatch({ok, <<$-, _/binary>>}, aion_json:encode(1 - Least)),
     ?_assertEqual({ok, Least - 1}, aion_json:decode(Nines)), ?_assertEqual({ok, 1 - Least}, aion_json:decode(<<$-, Nines/binary>>)),
     ?_assertEqual({error, <<"integer at value.a has more than 4096 digits">>}, aion_json:encode(#{a => Least})),
     [?_assertMatch({error, _}, aion_json:encode(N)) || N <- [-Least, 1 bsl 2000000, -(1 bsl 2000000)]],
     [?_assertMatch({error, <<"not JSON: a number has more than 4096 digits", _/binary>>}, aion_json:decode(Json))
      || Json <- [<<"9", Nines/binary>>, <<"-9", Nines/binary>>, <<"1.9", Nines/binary>>, <<"1e99", Nines/binary>>]]].

decode_test_() ->
    [{binary_to_list(Json), ?_assertEqual({ok, Term}, aion_json:decode(Json))} || {Json, Term} <- [
        {<<" true ">>, true}, {<<"null">>, null}, {<<"-0">>, 0}, {<<"12345678901234567890">>, 12345678901234567890},
        {<<"1.5e3">>, 1500.0}, {<<"1E2">>, 100.0}, {<<"2e-2">>, 0.02}, {<<"[]">>, []}, {<<"[ 1 , [ ] ]">>, [1, []]},
        {<<"{}">>, #{}}, {<<"{ \"a\" : 1 , \"b\" : {\"c\":null}}">>, #{<<"a">> => 1, <<"b">> => #{<<"c">> => null}}},
        {<<"\"\\u00fc\\/\\b\\f\\n\\r\\t\\\"\\\\\"">>, <<"ü/\b\f\n\r\t\"\\"/utf8>>},
        {<<"\"\\ud83d\\ude00 end\"">>, <<16#1f600/utf8, " end">>}, {<<"\"ü\""/utf8>>, <<"ü"/utf8>>}]].

not_json_test_() ->
    [{binary_to_list(Text), ?_assertMatch({error, _}, aion_json:decode(Text))} || Text <- [
        <<>>, <<" ">>, <<"nul">>, <<"truex">>, <<"1 2">>, <<"01">>, <<"-">>, <<"1.">>, <<".5">>, <<"1e">>, <<"1e+">>, <<"+1">>,
        <<"[1,]">>, <<"[1 2]">>, <<"[">>, <<"{\"a\"}">>, <<"{\"a\":1,}">>, <<"{a:1}">>, <<"\"a">>, <<"\"\\x\"">>,
        <<"\"\\u12g4\"">>, <<"\"\\ud800\"">>, <<"\"\\udc00\"">>, <<"\"\\ud800\\u0041\"">>, <<"\"a\nb\"">>, <<"'a'">>,
        <<"1e999">>, <<34, 255, 34>>, <<"NaN">>]].

round_trip_test_() ->
    [?_assertEqual({ok, T}, aion_json:decode(element(2, aion_json:encode(T)))) || T <- [
        #{<<"a">> => [1, 2.5, null, true, <<"text ü"/utf8>>, #{}]}, [0.1, 1.0e-7, 123456789012345680000.0], <<"x\"y">>]].

error_of(Term) ->
    {error, Why} = aion_json:encode(Term),
    Why.
