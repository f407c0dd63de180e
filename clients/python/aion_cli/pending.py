"""What a run waits for, for people: one line, and tables of its activities and timers."""

from aion_cli.output import Output, moment
from aion_client import Pending, PendingActivity


def summary(pending: Pending) -> str:
    """How much of each there is."""
    counts = {
        "activity|activities": _total(pending.get("activities"), pending.get("activities_total")),
        "timer|timers": _total(pending.get("timers"), pending.get("timers_total")),
        "child|children": pending.get("children", 0),
        "signal|signals": pending.get("signals", 0),
    }
    words = [f"{count} {_word(names, count)}" for names, count in counts.items() if count]
    return ", ".join(words) or "nothing"


def show(out: Output, pending: Pending) -> None:
    """The tables; nothing when there are neither."""
    if isinstance(activities := pending.get("activities"), list) and activities:
        out.say("")
        rows = [_row(activity) for activity in activities]
        out.table(("ACTIVITY", "TYPE", "QUEUE", "ATTEMPT", "STATE", "SCHEDULED", "RETRY", "HEARTBEAT"), rows)
        _tell_rest(out, len(activities), pending.get("activities_total"))
    if isinstance(timers := pending.get("timers"), list) and timers:
        out.say("")
        out.table(("TIMER", "FIRES"), [(str(timer["timer"]), moment(timer["fires_at"])) for timer in timers])
        _tell_rest(out, len(timers), pending.get("timers_total"))


def _row(activity: PendingActivity) -> tuple[str, ...]:
    return (
        str(activity["activity"]),
        activity["type"],
        activity["queue"],
        str(activity["attempt"]),
        activity["state"],
        moment(activity["scheduled_at"]),
        moment(activity.get("retry_at")),
        moment(activity.get("last_heartbeat_at")),
    )


def _tell_rest(out: Output, shown: int, total: int | None) -> None:
    if total is not None and total > shown:
        out.say(f"and {total - shown} more")


def _total(shown: object, total: int | None) -> int:
    """Gateways of an older release give the number alone."""
    if isinstance(shown, int):
        return shown
    return total or (len(shown) if isinstance(shown, list) else 0)


def _word(names: str, count: int) -> str:
    one, many = names.split("|")
    return one if count == 1 else many
