%% MessagePack, as far as frames need it: everything but extension types. Pure.
%%
%% Text and raw bytes both decode to binaries, nil to the atom `nil`. When encoding, a binary becomes raw bytes,
%% {text, Binary} and atoms (other than nil, true, false) become text, which must be UTF-8. Smallest forms are used.
-module(aion_msgpack).
-export([decode/1, encode/1]).

-type value() :: nil | boolean() | integer() | float() | binary() | [value()] | #{value() => value()}.
-type writable() :: nil | atom() | integer() | float() | binary() | {text, binary()} | [writable()]
                  | #{writable() => writable()}.
-export_type([value/0, writable/0]).

-spec decode(binary()) -> value().
%% Exactly one value; anything else is an error of class `error`.
decode(Bytes) ->
    case value(Bytes) of
        {Value, <<>>} -> Value;
        {_, Rest} -> error({bytes_left_over, byte_size(Rest)})
    end.

value(<<0:1, N:7, R/binary>>) -> {N, R};
value(<<7:3, N:5, R/binary>>) -> {N - 32, R};
value(<<5:3, N:5, B:N/binary, R/binary>>) -> {B, R};
value(<<9:4, N:4, R/binary>>) -> list(N, R, []);
value(<<8:4, N:4, R/binary>>) -> map(N, R, #{});
value(<<16#c0, R/binary>>) -> {nil, R};
value(<<16#c2, R/binary>>) -> {false, R};
value(<<16#c3, R/binary>>) -> {true, R};
value(<<16#c4, N, B:N/binary, R/binary>>) -> {B, R};
value(<<16#c5, N:16, B:N/binary, R/binary>>) -> {B, R};
value(<<16#c6, N:32, B:N/binary, R/binary>>) -> {B, R};
value(<<16#ca, F:32/float, R/binary>>) -> {F, R};
value(<<16#cb, F:64/float, R/binary>>) -> {F, R};
value(<<16#cc, N, R/binary>>) -> {N, R};
value(<<16#cd, N:16, R/binary>>) -> {N, R};
value(<<16#ce, N:32, R/binary>>) -> {N, R};
value(<<16#cf, N:64, R/binary>>) -> {N, R};
value(<<16#d0, N:8/signed, R/binary>>) -> {N, R};
value(<<16#d1, N:16/signed, R/binary>>) -> {N, R};
value(<<16#d2, N:32/signed, R/binary>>) -> {N, R};
value(<<16#d3, N:64/signed, R/binary>>) -> {N, R};
value(<<16#d9, N, B:N/binary, R/binary>>) -> {B, R};
value(<<16#da, N:16, B:N/binary, R/binary>>) -> {B, R};
value(<<16#db, N:32, B:N/binary, R/binary>>) -> {B, R};
value(<<16#dc, N:16, R/binary>>) -> list(N, R, []);
value(<<16#dd, N:32, R/binary>>) -> list(N, R, []);
value(<<16#de, N:16, R/binary>>) -> map(N, R, #{});
value(<<16#df, N:32, R/binary>>) -> map(N, R, #{});
value(<<Tag, _/binary>>) -> error({bad_value, Tag});
value(<<>>) -> error(bytes_missing).

list(0, R, Acc) -> {lists:reverse(Acc), R};
list(N, R, Acc) ->
    {V, R1} = value(R),
    list(N - 1, R1, [V | Acc]).

map(0, R, Acc) -> {Acc, R};
map(N, R, Acc) ->
    {K, R1} = value(R),
    {V, R2} = value(R1),
    map(N - 1, R2, Acc#{K => V}).

-spec encode(writable()) -> iodata().
encode(nil) -> <<16#c0>>;
encode(true) -> <<16#c3>>;
encode(false) -> <<16#c2>>;
encode(A) when is_atom(A) -> encode({text, atom_to_binary(A)});
encode(N) when is_integer(N) -> integer(N);
encode(F) when is_float(F) -> <<16#cb, F:64/float>>;
encode(B) when is_binary(B) -> [raw(byte_size(B)), B];
encode({text, B}) -> [text(byte_size(B)), B];
encode(L) when is_list(L) -> [array(length(L)) | [encode(E) || E <- L]];
encode(M) when is_map(M) ->
    [entries(map_size(M)) | [[encode(K), encode(V)] || {K, V} <- lists:sort(maps:to_list(M))]].

integer(N) when N >= 0, N < 16#80 -> <<N>>;
integer(N) when N >= 0, N < 16#100 -> <<16#cc, N>>;
integer(N) when N >= 0, N < 16#10000 -> <<16#cd, N:16>>;
integer(N) when N >= 0, N < 16#100000000 -> <<16#ce, N:32>>;
integer(N) when N >= 0, N < 16#10000000000000000 -> <<16#cf, N:64>>;
integer(N) when N >= -32, N < 0 -> <<N:8/signed>>;
integer(N) when N >= -16#80, N < 0 -> <<16#d0, N:8/signed>>;
integer(N) when N >= -16#8000, N < 0 -> <<16#d1, N:16/signed>>;
integer(N) when N >= -16#80000000, N < 0 -> <<16#d2, N:32/signed>>;
integer(N) when N >= -16#8000000000000000, N < 0 -> <<16#d3, N:64/signed>>.

raw(N) when N < 16#100 -> <<16#c4, N>>;
raw(N) when N < 16#10000 -> <<16#c5, N:16>>;
raw(N) -> <<16#c6, N:32>>.

text(N) when N < 32 -> <<5:3, N:5>>;
text(N) when N < 16#100 -> <<16#d9, N>>;
text(N) when N < 16#10000 -> <<16#da, N:16>>;
text(N) -> <<16#db, N:32>>.

array(N) when N < 16 -> <<9:4, N:4>>;
array(N) when N < 16#10000 -> <<16#dc, N:16>>;
array(N) -> <<16#dd, N:32>>.

entries(N) when N < 16 -> <<8:4, N:4>>;
entries(N) when N < 16#10000 -> <<16#de, N:16>>;
entries(N) -> <<16#df, N:32>>.
