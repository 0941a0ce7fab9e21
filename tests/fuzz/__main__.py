"""``python -m tests.fuzz --seconds 300``; see ``make fuzz``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.run import fuzz
from tests.fuzz.world import world

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("--seconds", type=float, default=300.0)
parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round; default the clock")
arguments = parser.parse_args()
sys.stdout.write(f"seed {arguments.seed}\n")
with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as of:
    requests = fuzz(of, arguments.seconds, arguments.seed)
    sys.stdout.write(f"{requests:,} requests, nothing found: {json.dumps(dict(of.codes.most_common()))}\n")
