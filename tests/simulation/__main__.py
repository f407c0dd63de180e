"""`make sim`: lives through many seeds, or through one again. Ends with 1 if a sentence was broken in any of them."""

import argparse
import sys
import time

from rich.console import Console

from simulation.seeds import FEW_HUNDRED, live, never_seen, told
from simulation.world import Ending

TELL_EVERY = 500
BROKEN_SHOWN_MAX = 3


def main() -> int:
    """Returns the exit code."""
    options = argparse.ArgumentParser(prog="simulation")
    options.add_argument("--seed", type=int, help="this one only")
    options.add_argument("--seeds", type=int, default=FEW_HUNDRED, help="how many")
    options.add_argument("--first", type=int, default=0, help="the first of them")
    chosen = options.parse_args()
    seeds = [chosen.seed] if chosen.seed is not None else range(chosen.first, chosen.first + chosen.seeds)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    endings: list[Ending] = []
    broken: list[Ending] = []
    began = time.monotonic()
    for ending in live(seeds):
        endings.append(ending)
        if ending.broken is not None:
            broken.append(ending)
            shown = told(ending) if len(broken) <= BROKEN_SHOWN_MAX else f"seed {ending.seed}: {ending.broken}"
            console.print(shown)
        if len(endings) % TELL_EVERY == 0:
            rate = len(endings) / (time.monotonic() - began)
            console.print(f"{len(endings)} seeds, {len(broken)} broken, {rate:.1f} seeds/s")
    missing = never_seen(endings) if len(endings) >= FEW_HUNDRED else []
    if missing:
        console.print(f"never seen in {len(endings)} seeds: {', '.join(missing)}")
    events = sum(sum(ending.counts.values()) for ending in endings)
    names = ", ".join(str(ending.seed) for ending in broken) or "none"
    console.print(
        f"{len(endings)} seeds, {sum(ending.steps for ending in endings)} steps, {events} events and replies; broken: {names}"
    )
    return 1 if broken or missing else 0


if __name__ == "__main__":
    sys.exit(main())
