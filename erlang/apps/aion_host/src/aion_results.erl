%% The table aion_results: the timers and activities of each run, whose ends belong in no mailbox. A row is made when the run
%% asks for one, holds its end when the run has been given that, and goes when the run has taken it. Public, as the run
%% writes its own rows: only the run while it runs, only the host while it waits.
-module(aion_results).
-export([boot/0, drop/1, ended/3, look/1, open_after/1, opened/2, take/1]).

%% {{Pid, Id}, open, timer | activity} | {{Pid, Id}, Order, Outcome}: the order is that in which the ends were given to the run.
-type kind() :: timer | activity.
-type outcome() :: aion_frames:outcome() | cancelled.
-export_type([kind/0, outcome/0]).

-spec boot() -> ok.
boot() ->
    aion_results = ets:new(aion_results, [named_table, public, ordered_set]),
    ok.

-spec opened(aion_frames:id(), kind()) -> ok.
%% Of the calling run.
opened(Id, Kind) ->
    true = ets:insert(aion_results, {{self(), Id}, open, Kind}),
    ok.

-spec ended(pid(), aion_frames:id(), outcome()) -> ok.
%% What the run has cancelled stays cancelled, whatever comes of it.
ended(Pid, Id, Outcome) ->
    Key = {Pid, Id},
    case ets:lookup(aion_results, Key) of
        [{_, open, _}] -> ets:insert(aion_results, {Key, erlang:unique_integer([monotonic]), Outcome});
        _ -> ok
    end,
    ok.

-spec look(aion_frames:id()) -> {open, kind()} | none | {ended, Order :: integer(), outcome()}.
%% How it stands with one of the calling run; `none` if its end has been taken, or it never was.
look(Id) ->
    case ets:lookup(aion_results, {self(), Id}) of
        [{_, open, Kind}] -> {open, Kind};
        [{_, Order, Outcome}] -> {ended, Order, Outcome};
        [] -> none
    end.

-spec take(aion_frames:id()) -> ok.
%% The calling run has its end, and will not ask again.
take(Id) ->
    ets:delete(aion_results, {self(), Id}),
    ok.

-spec open_after(aion_frames:id()) -> [{aion_frames:id(), kind()}].
%% Those of the calling run that began after this one and are still open, in their order.
open_after(Id) -> ets:select(aion_results, [{{{self(), '$1'}, open, '$2'}, [{'>', '$1', Id}], [{{'$1', '$2'}}]}]).

-spec drop(pid()) -> ok.
drop(Pid) ->
    ets:select_delete(aion_results, [{{{Pid, '_'}, '_', '_'}, [], [true]}]),
    ok.
