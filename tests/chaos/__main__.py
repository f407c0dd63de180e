"""`make chaos`: the kill loop in a folder of its own. Prints one JSON document; progress goes to standard error."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from chaos.rounds import kill_loop
from chaos.system import Size


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep data and logs here")
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(kill_loop(folder, given.seed, given.rounds, _tell, Size(brokers=given.brokers, workers=2)))
    sys.stdout.write(json.dumps(outcome.document()) + "\n")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(_main())
