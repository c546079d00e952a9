"""GPU reports: put one together from what bench/gpu.sh left, and say whether one is current.

python tools/gpu_report.py assemble FOLDER [--rehearsal]   writes FOLDER/report.json
python tools/gpu_report.py check [FOLDER]                  1 unless the newest is for these sources
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from ropescale_kernels.bench.machine import sources_sha256

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PACKAGES = ("torch", "triton", "transformers", "liger-kernel", "flashinfer-python", "sglang")


def newest(folder: Path = RESULTS) -> tuple[Path, dict[str, Any]] | None:
    """Give the committed report that was made last, or None."""
    found = [(path, json.loads(path.read_text())) for path in folder.glob("gpu-*.json")]
    return max(found, key=lambda pair: str(pair[1].get("made", "")), default=None)


def state(folder: Path = RESULTS) -> str:
    """Say in a line how the newest report stands to these sources."""
    last = newest(folder)
    if last is None:
        return "no GPU report is committed"
    path, report = last
    same = report.get("sources_sha256") == sources_sha256()
    return f"newest GPU report: {path.name}, for {'these' if same else 'other'} sources"


def faults(report: dict[str, Any]) -> list[str]:
    """Say what keeps a report from vouching for these sources."""
    found = []
    if report.get("rehearsal"):
        found.append("it is a rehearsal, made without a GPU")
    if not report.get("device"):
        found.append("it names no device")
    if report.get("sources_sha256") != sources_sha256():
        found.append("it is for other sources")
    stages = report.get("stages") or {}
    found += [
        f"stage {name}: {s['status']}" for name, s in stages.items() if s["status"] != "passed"
    ]
    if not stages:
        found.append("it holds no stages")
    tests = report.get("tests") or {}
    if not tests.get("passed"):
        found.append("no test passed")
    if tests.get("failed"):
        found.append(f"{tests['failed']} tests failed")
    return found


def _tests(path: Path) -> dict[str, int] | None:
    """Count a JUnit file's tests."""
    if not path.is_file():
        return None
    suites = list(ET.parse(path).getroot().iter("testsuite"))
    total, skipped, failed, errors = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "skipped", "failures", "errors")
    )
    failed += errors
    return {"passed": total - skipped - failed, "failed": failed, "skipped": skipped}


def _stages(path: Path) -> dict[str, dict[str, Any]]:
    """Read the lines `name exit-code seconds` that bench/gpu.sh kept."""
    found = {}
    for line in path.read_text().splitlines():
        name, code, seconds = line.split()
        status = {"0": "passed", "124": "timed out", "skip": "not run"}.get(
            code, f"failed ({code})"
        )
        found[name] = {"status": status, "seconds": int(seconds)}
    return found


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device() -> dict[str, Any] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(0)
    query = (
        "nvidia-smi",
        "--query-gpu=driver_version,clocks.sm,clocks.mem",
        "--format=csv,noheader",
    )
    return {
        "name": about.name,
        "multiprocessors": about.multi_processor_count,
        "capability": f"{about.major}.{about.minor}",
        "memory": about.total_memory,
        "driver, clocks": (_output(*query) or "").splitlines()[:1],
        "cuda": torch.version.cuda,
    }


def assemble(folder: Path, rehearsal: bool) -> dict[str, Any]:
    """Put a report together from a folder's stages, tests.xml and bench.json."""
    nvcc = _output("nvcc", "--version")
    report = {
        "rehearsal": rehearsal,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "sources_sha256": sources_sha256(),
        "commit": _output("git", "rev-parse", "HEAD"),
        "uncommitted": bool(_output("git", "status", "--porcelain", "--untracked-files=no")),
        "device": _device(),
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in PACKAGES},
        "nvcc": nvcc.splitlines()[-1] if nvcc else None,
        "stages": _stages(folder / "stages"),
        "tests": _tests(folder / "tests.xml"),
        "bench": _json(folder / "bench.json"),
        "bench_compiled": _json(folder / "bench-compiled.json"),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def check(folder: Path) -> int:
    """Print whether the newest report vouches for these sources."""
    last = newest(folder)
    if last is None:
        print("no GPU report is committed: run bench/gpu.sh on a machine with a GPU")
        return 1
    path, report = last
    found = faults(report)
    for fault in found:
        print(f"{path.name}: {fault}")
    if not found:
        print(f"{path.name}: current")
    return int(bool(found))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("assemble", help="write FOLDER/report.json")
    one.add_argument("folder", type=Path)
    one.add_argument("--rehearsal", action="store_true")
    two = commands.add_parser("check", help="exit with 1 unless the newest report is current")
    two.add_argument("folder", type=Path, nargs="?", default=RESULTS)
    arguments = parser.parse_args()
    actions: dict[str, Callable[[], int]] = {
        "assemble": lambda: 0 if assemble(arguments.folder, arguments.rehearsal) else 1,
        "check": lambda: check(arguments.folder),
    }
    return actions[arguments.command]()


if __name__ == "__main__":
    sys.exit(main())
