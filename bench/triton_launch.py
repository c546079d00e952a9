"""Time the host's part of one launch of a Triton kernel, with a driver that launches nothing.

    python bench/triton_launch.py [--json FILE]

Median microseconds for one token of 32 and 8 heads: from a checked call to Triton's launcher; of
the public functions, checks included; of allocating the two outputs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "tools" / "stub_launch.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    # The stub compiles kernels, so the interpreter must be off before Triton is imported.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(STUB), "time"],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return done.returncode
    for name, value in json.loads(done.stdout).items():
        print(f"{name:24} {value:7.2f}")
    if arguments.json:
        arguments.json.write_text(done.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
