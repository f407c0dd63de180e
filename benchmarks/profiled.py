"""`aion-server` under cProfile, by CPU time: `python profiled.py FILE SERVICE FLAGS...` leaves the statistics in the file.

Started by `shared` for the service that AION_TEST_PROFILE names.
"""

import cProfile
import sys
import time

from aion_server.app import main

if __name__ == "__main__":
    file = sys.argv.pop(1)
    profile = cProfile.Profile(time.process_time)
    try:
        profile.runcall(main)
    finally:
        profile.dump_stats(file)
