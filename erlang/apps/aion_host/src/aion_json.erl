%% JSON (RFC 8259) to terms and back. Pure; OTP 25 has no json module.
%%
%% Terms to JSON: integers, floats, true, false; null, nil and undefined become null; other atoms strings; a binary
%% becomes the JSON that it holds if it parses, else a string (it must be UTF-8); lists and tuples become arrays, maps
%% objects (keys: binaries, atoms, integers; written in the order of their text, so that the same term always gives the
%% same bytes). JSON to terms: objects are maps with binary keys, null is the atom null.
-module(aion_json).
-export([decode/1, encode/1, quote/1]).

%% What reads results (Python among others) recurses; deeper values are refused on both ways.
-define(DEPTH_MAX, 200).
%% Reading and writing numbers takes time that grows with the square of their length, in which the VM does nothing else.
-define(DIGITS_MAX, 4096).
%% No number of so many digits is larger.
-define(INTEGER_MAX, (1 bsl 13607)).
-define(IS_SPACE(C), (C =:= $\s orelse C =:= $\n orelse C =:= $\t orelse C =:= $\r)).
-define(IS_DIGIT(C), (C >= $0 andalso C =< $9)).

-type json() :: null | boolean() | integer() | float() | binary() | [json()] | #{binary() => json()}.
-export_type([json/0]).

-spec encode(term()) -> {ok, binary()} | {error, binary()}.
%% The error is a sentence that names the part of the term that JSON cannot hold, and where it stands.
encode(Term) ->
    try {ok, iolist_to_binary(write(Term, [], 0))}
    catch throw:{bad_term, Part, Path, Why} -> {error, sentence(Part, Path, Why)}
    end.

write(true, _, _) -> <<"true">>;
write(false, _, _) -> <<"false">>;
write(null, _, _) -> <<"null">>;
write(nil, _, _) -> <<"null">>;
write(undefined, _, _) -> <<"null">>;
write(A, _, _) when is_atom(A) -> string(atom_to_binary(A));
write(N, Path, _) when is_integer(N) -> integer(N, Path);
write(F, _, _) when is_float(F) -> float_to_binary(F, [short]);
write(B, Path, _) when is_binary(B) -> text_or_json(B, Path);
write(T, Path, ?DEPTH_MAX) -> bad(T, Path, "is nested too deeply");
write([], _, _) -> <<"[]">>;
write(L, Path, D) when is_list(L) -> elements(L, Path, D);
write({}, _, _) -> <<"[]">>;
write(T, Path, D) when is_tuple(T) -> elements(tuple_to_list(T), Path, D);
write(M, Path, D) when is_map(M) -> members(M, Path, D);
write(T, Path, _) -> bad(T, Path, "is " ++ kind(T)).

integer(N, Path) when abs(N) < ?INTEGER_MAX ->
    case integer_to_binary(N) of
        <<$-, Digits/binary>> = Text when byte_size(Digits) =< ?DIGITS_MAX -> Text;
        Text when N >= 0, byte_size(Text) =< ?DIGITS_MAX -> Text;
        _ -> too_long(Path)
    end;
integer(_, Path) -> too_long(Path).

-spec too_long([binary() | non_neg_integer()]) -> no_return().
too_long(Path) -> bad(integer, Path, "has more than " ++ integer_to_list(?DIGITS_MAX) ++ " digits").

elements(List, Path, D) -> [$[, write(hd(List), [0 | Path], D + 1) | more(tl(List), 1, Path, D)].

more([], _, _, _) -> "]";
more([E | R], I, Path, D) -> [$,, write(E, [I | Path], D + 1) | more(R, I + 1, Path, D)];
more(Tail, I, Path, _) -> bad(Tail, [I | Path], "ends a list that is not a proper list").

members(M, Path, D) ->
    Named = lists:sort([{key(K, Path), K, V} || {K, V} <- maps:to_list(M)]),
    distinct(Named, Path),
    Texts = [[string(Name), $:, write(V, [Name | Path], D + 1)] || {Name, _, V} <- Named],
    [${, lists:join($,, Texts), $}].

distinct([{Name, _, _}, {Name, K, _} | _], Path) -> bad(K, Path, "is a second key of the same name");
distinct([_ | R], Path) -> distinct(R, Path);
distinct([], _) -> ok.

key(K, _) when is_atom(K) -> atom_to_binary(K);
key(K, _) when is_integer(K) -> integer_to_binary(K);
key(K, Path) when is_binary(K) ->
    case is_utf8(K) of
        true -> K;
        false -> bad(K, Path, "is a key that is not UTF-8")
    end;
key(K, Path) -> bad(K, Path, "is a key that is neither binary, atom nor integer").

text_or_json(B, Path) ->
    case is_utf8(B) of
        false -> bad(B, Path, "is a binary that is not UTF-8");
        true ->
            case may_be_json(B) andalso decode(B) of
                {ok, _} -> B;
                _ -> string(B)
            end
    end.

%% Spares most strings the parser.
may_be_json(<<C, R/binary>>) when ?IS_SPACE(C) -> may_be_json(R);
may_be_json(<<C, _/binary>>) -> ?IS_DIGIT(C) orelse lists:member(C, "{[\"-tfn");
may_be_json(<<>>) -> false.

kind(T) when is_pid(T) -> "a process";
kind(T) when is_port(T) -> "a port";
kind(T) when is_reference(T) -> "a reference";
kind(T) when is_function(T) -> "a function";
kind(T) when is_bitstring(T) -> "a bit string of incomplete bytes".

-spec bad(term(), [binary() | non_neg_integer()], string()) -> no_return().
bad(Part, Path, Why) -> throw({bad_term, Part, Path, Why}).

sentence(Part, Path, Why) ->
    Where = [step(S) || S <- lists:reverse(Path)],
    Text = io_lib:format("~0tp at value~ts ~s", [Part, Where, Why], [{chars_limit, 1000}]),
    unicode:characters_to_binary(Text).

step(I) when is_integer(I) -> [$[, integer_to_list(I), $]];
step(Name) -> [$., Name].

-spec quote(binary()) -> iodata().
%% UTF-8 text as a JSON string, whatever it holds.
quote(B) -> string(B).

string(B) -> [$", escape(B, 0, 0, B), $"].

%% Start and Len mark the bytes of All that can be written as they are.
escape(<<C, R/binary>>, Start, Len, All) when C >= 32, C =/= $", C =/= $\\ -> escape(R, Start, Len + 1, All);
escape(<<C, R/binary>>, Start, Len, All) ->
    [binary:part(All, Start, Len), escaped(C) | escape(R, Start + Len + 1, 0, All)];
escape(<<>>, 0, _, All) -> All;
escape(<<>>, Start, Len, All) -> binary:part(All, Start, Len).

escaped($") -> "\\\"";
escaped($\\) -> "\\\\";
escaped($\n) -> "\\n";
escaped($\r) -> "\\r";
escaped($\t) -> "\\t";
escaped(C) -> io_lib:format("\\u~4.16.0b", [C]).

-spec decode(binary()) -> {ok, json()} | {error, binary()}.
%% The error is a sentence with the offset in bytes.
decode(Bytes) ->
    try document(Bytes)
    catch throw:{bad_json, Rest, Why} ->
        At = byte_size(Bytes) - byte_size(Rest),
        {error, iolist_to_binary(io_lib:format("not JSON: ~s at byte ~b", [Why, At]))}
    end.

document(Bytes) ->
    is_utf8(Bytes) orelse wrong(Bytes, "not UTF-8 somewhere; seen"),
    {Value, Rest} = value(space(Bytes), 0),
    case space(Rest) of
        <<>> -> {ok, Value};
        Left -> wrong(Left, "something follows the value")
    end.

is_utf8(B) -> unicode:characters_to_binary(B, utf8, utf8) =:= B.

-spec wrong(binary(), string()) -> no_return().
wrong(Rest, Why) -> throw({bad_json, Rest, Why}).

space(<<C, R/binary>>) when ?IS_SPACE(C) -> space(R);
space(B) -> B.

value(B, ?DEPTH_MAX) -> wrong(B, "nested too deeply");
value(<<${, R/binary>>, D) -> object(space(R), D + 1);
value(<<$[, R/binary>>, D) -> array(space(R), D + 1);
value(<<$", R/binary>>, _) -> text(R, 0, R, []);
value(<<"true", R/binary>>, _) -> {true, R};
value(<<"false", R/binary>>, _) -> {false, R};
value(<<"null", R/binary>>, _) -> {null, R};
value(<<$-, C, _/binary>> = B, _) when ?IS_DIGIT(C) -> number(B);
value(<<C, _/binary>> = B, _) when ?IS_DIGIT(C) -> number(B);
value(<<>>, _) -> wrong(<<>>, "a value is missing");
value(B, _) -> wrong(B, "no value begins").

array(<<$], R/binary>>, _) -> {[], R};
array(B, D) -> items(B, D, []).

items(B, D, Acc) ->
    {V, R} = value(B, D),
    case space(R) of
        <<$,, R1/binary>> -> items(space(R1), D, [V | Acc]);
        <<$], R1/binary>> -> {lists:reverse([V | Acc]), R1};
        R1 -> wrong(R1, "an array goes on without comma")
    end.

object(<<$}, R/binary>>, _) -> {#{}, R};
object(B, D) -> pairs(B, D, #{}).

pairs(<<$", B/binary>>, D, Acc) ->
    {K, R} = text(B, 0, B, []),
    {V, R1} = value(space(colon(space(R))), D),
    case space(R1) of
        <<$,, R2/binary>> -> pairs(space(R2), D, Acc#{K => V});
        <<$}, R2/binary>> -> {Acc#{K => V}, R2};
        R2 -> wrong(R2, "an object goes on without comma")
    end;
pairs(B, _, _) -> wrong(B, "a key is missing").

colon(<<$:, R/binary>>) -> R;
colon(B) -> wrong(B, "a colon is missing").

%% All is the text from the first byte not yet taken into Acc; N bytes of it are plain.
text(<<$", R/binary>>, N, All, []) -> {binary:copy(binary:part(All, 0, N)), R};
text(<<$", R/binary>>, N, All, Acc) -> {iolist_to_binary(lists:reverse([binary:part(All, 0, N) | Acc])), R};
text(<<$\\, R/binary>> = B, N, All, Acc) ->
    {Char, R1} = unescape(R, B),
    text(R1, 0, R1, [Char, binary:part(All, 0, N) | Acc]);
text(<<C, R/binary>>, N, All, Acc) when C >= 32 -> text(R, N + 1, All, Acc);
text(B, _, _, _) -> wrong(B, "a string does not end").

unescape(<<$", R/binary>>, _) -> {$", R};
unescape(<<$\\, R/binary>>, _) -> {$\\, R};
unescape(<<$/, R/binary>>, _) -> {$/, R};
unescape(<<$b, R/binary>>, _) -> {$\b, R};
unescape(<<$f, R/binary>>, _) -> {$\f, R};
unescape(<<$n, R/binary>>, _) -> {$\n, R};
unescape(<<$r, R/binary>>, _) -> {$\r, R};
unescape(<<$t, R/binary>>, _) -> {$\t, R};
unescape(<<$u, H:4/binary, R/binary>>, B) -> code_point(hex(H, B), R, B);
unescape(_, B) -> wrong(B, "a bad escape").

code_point(High, <<"\\u", H:4/binary, R/binary>>, B) when High >= 16#d800, High < 16#dc00 ->
    case hex(H, B) of
        Low when Low >= 16#dc00, Low < 16#e000 ->
            {<<(16#10000 + ((High - 16#d800) bsl 10) + (Low - 16#dc00))/utf8>>, R};
        _ -> wrong(B, "half a surrogate pair")
    end;
code_point(Half, _, B) when Half >= 16#d800, Half < 16#e000 -> wrong(B, "half a surrogate pair");
code_point(C, R, _) -> {<<C/utf8>>, R}.

hex(H, B) ->
    case lists:all(fun(C) -> ?IS_DIGIT(C) orelse (C bor 32 >= $a andalso C bor 32 =< $f) end, binary_to_list(H)) of
        true -> binary_to_integer(H, 16);
        false -> wrong(B, "a bad escape")
    end.

number(B) ->
    {Whole, R} = whole(B),
    {Fraction, R1} = fraction(R),
    {Exponent, R2} = exponent(R1),
    {numeric(binary:part(B, 0, Whole), Fraction, Exponent, B), R2}.

whole(<<$-, R/binary>>) ->
    {N, R1} = whole(R),
    {N + 1, R1};
whole(<<$0, C, _/binary>> = B) when ?IS_DIGIT(C) -> wrong(B, "a number begins with zero");
whole(B) -> digits(B, 0).

fraction(<<$., C, _/binary>> = B) when ?IS_DIGIT(C) ->
    <<$., R/binary>> = B,
    {N, R1} = digits(R, 0),
    {binary:part(R, 0, N), R1};
fraction(<<$., _/binary>> = B) -> wrong(B, "digits are missing");
fraction(R) -> {none, R}.

exponent(<<E, S, C, R/binary>>) when E bor 32 =:= $e, S =:= $+ orelse S =:= $-, ?IS_DIGIT(C) -> powers([S], C, R);
exponent(<<E, C, R/binary>>) when E bor 32 =:= $e, ?IS_DIGIT(C) -> powers([], C, R);
exponent(<<E, _/binary>> = B) when E bor 32 =:= $e -> wrong(B, "digits are missing");
exponent(R) -> {none, R}.

powers(Sign, C, R) ->
    {N, R1} = digits(R, 0),
    {[Sign, C, binary:part(R, 0, N)], R1}.

digits(B, N) when N > ?DIGITS_MAX -> wrong(B, "a number has more than " ++ integer_to_list(?DIGITS_MAX) ++ " digits");
digits(B, N) ->
    case B of
        <<_:N/binary, C, _/binary>> when ?IS_DIGIT(C) -> digits(B, N + 1);
        <<_:N/binary, R/binary>> -> {N, R}
    end.

numeric(Whole, none, none, _) -> binary_to_integer(Whole);
numeric(Whole, none, Exponent, B) -> float_of([Whole, ".0e", Exponent], B);
numeric(Whole, Fraction, none, B) -> float_of([Whole, $., Fraction], B);
numeric(Whole, Fraction, Exponent, B) -> float_of([Whole, $., Fraction, $e, Exponent], B).

float_of(Text, B) ->
    try binary_to_float(iolist_to_binary(Text))
    catch error:badarg -> wrong(B, "a number out of range")
    end.
