"""GPU reports: put one together from what bench/gpu.sh left, and say whether one is current.

python -m tools.gpu.report assemble FOLDER --to FILE [--rehearsal]   writes FILE
python -m tools.gpu.report show FILE        prints it; 1 if a figure cannot be right
python -m tools.gpu.report check [FOLDER]   1 unless the newest is for these sources
python -m tools.gpu.report carried FOLDER   1 unless it holds an extension of these sources
python -m tools.gpu.report importable       1 unless the extension here loads and serves the device
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from ropescale_kernels.bench.sources import ROOT, sources_sha256

from .judgement import predictions, sanity

RESULTS = ROOT / "bench" / "results"
PACKAGES = ("torch", "triton", "transformers", "liger-kernel", "flashinfer-python", "sglang")


def newest(folder: Path = RESULTS) -> tuple[Path, dict[str, Any]] | None:
    """Return the committed report that was made last, or None."""
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
    stages, bench = report.get("stages") or {}, report.get("bench") or {}
    if not bench.get("complete"):
        found.append("its bench is not complete")
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
    found += [
        f"{check['check']}: expected {check['wanted']}, got {check['found']}"
        for check in report.get("sanity") or []
        if check["passed"] is not True and not check.get("unknown_card")
    ]
    return found


def _tests(*paths: Path) -> dict[str, int] | None:
    """Count the tests of JUnit files together; None where none is there and whole."""
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            suites = list(ET.parse(path).getroot().iter("testsuite"))
        except (OSError, ET.ParseError):
            continue
        total, skipped, failed, errors = (
            sum(int(suite.get(name, 0)) for suite in suites)
            for name in ("tests", "skipped", "failures", "errors")
        )
        failed += errors
        counts.update(passed=total - skipped - failed, failed=failed, skipped=skipped)
    return dict(counts) if counts else None


def _stages(path: Path) -> dict[str, dict[str, Any]]:
    """Read the lines `name exit-code seconds` that bench/gpu.sh kept."""
    words = {"0": "passed", "124": "timed out", "137": "killed"}
    words |= {"late": "no time was left", "terminated": "terminated"}
    all_of_them = (path.parent / "all-stages").read_text().split()
    found: dict[str, dict[str, Any]] = {
        name: {"status": "not run", "seconds": 0} for name in all_of_them
    }
    for line in path.read_text().splitlines():
        name, code, seconds = line.split()
        found[name] = {
            "status": words.get(code, f"failed ({code})"),
            "seconds": int(seconds),
        }
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


def _machine(folder: Path) -> dict[str, Any]:
    """Describe what is tested and where, found out once and kept in the folder."""
    kept = folder / "machine.json"
    if not kept.is_file():
        nvcc = _output("nvcc", "--version")
        found = {
            "sources_sha256": sources_sha256(),
            "commit": _output("git", "rev-parse", "HEAD"),
            "uncommitted": bool(_output("git", "status", "--porcelain", "--untracked-files=no")),
            "device": _device(),
            "python": sys.version.split()[0],
            "versions": {name: _version(name) for name in PACKAGES},
            "nvcc": nvcc.splitlines()[-1] if nvcc else None,
        }
        kept.write_text(json.dumps(found))
    found = json.loads(kept.read_text())
    return dict(found)


def assemble(folder: Path, target: Path, rehearsal: bool) -> None:
    """Put a report together from what stages have left in a folder so far."""
    machine = _machine(folder)
    device, bench = machine["device"], _json(folder / "bench.json")
    report = {
        "rehearsal": rehearsal,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **machine,
        "stages": _stages(folder / "stages"),
        "tests": _tests(folder / "tests.xml", folder / "large.xml"),
        "sanitizer": {
            path.stem.removeprefix("sanitizer-"): _tests(path)
            for path in sorted(folder.glob("sanitizer-*.xml"))
        },
        "sanity": sanity(bench, _json(folder / "repeat.json"), device),
        "predictions": predictions(bench, device),
        "bench": bench,
        "bench_compiled": _json(folder / "bench-compiled.json"),
    }
    fresh = target.with_name(target.name + ".part")
    fresh.write_text(json.dumps(report, indent=1) + "\n")
    fresh.replace(target)


def show(path: Path) -> int:
    """Print a report's stages, tests, checks and predictions; 1 if a check failed."""
    report = json.loads(path.read_text())
    device = report["device"] or {}
    print(device.get("name", "no device"), report["versions"], sep="\n")
    for name, stage in report["stages"].items():
        print(f"{name:16} {stage['status']:16} {stage['seconds']:4} s")
    print("tests:", report["tests"], "under the sanitizer:", report["sanitizer"])
    for check in report["sanity"]:
        result = {True: "ok", False: "WRONG", None: "not checked"}[check["passed"]]
        print(f"{result}: {check['check']}: {check['found']}; expected {check['wanted']}")
    if report["predictions"]:
        print(f"us on {device['name']}: model, dtype, tokens, entry, predicted, measured, ratio")
    for row in report["predictions"]:
        case = f"{row['model']:18} {row['dtype']:8} {row['tokens']:6} {row['entry']:22}"
        print(f"{case} {row['predicted']:7.1f} {row['measured']:7.1f} {row['ratio']:5.2f}")
    return int(any(check["passed"] is False for check in report["sanity"]))


def carried(folder: Path) -> int:
    """Say whether a folder of tools/gpu/carry.py holds an extension of these sources."""
    found = _json(folder / "manifest.json")
    if found is None:
        print("no extension was carried along")
        return 1
    if found["sources_sha256"] != sources_sha256():
        print("the extension that was carried along is of other sources")
        return 1
    print(f"the carried extension is of these sources, for {found['architectures']}")
    return 0


def importable() -> int:
    """Say whether the extension here loads, and its kernels onto the device."""
    import importlib

    import ropescale_kernels as rk

    reason = rk.available_impls()["cuda"]
    if reason is None:
        reason = importlib.import_module("ropescale_kernels._C").prepare_device(0) or None
    print("the extension serves the device" if reason is None else reason)
    return int(reason is not None)


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
    one = commands.add_parser("assemble", help="write a report of what a folder holds")
    one.add_argument("folder", type=Path)
    one.add_argument("--to", type=Path, required=True, help="the report's file")
    one.add_argument("--rehearsal", action="store_true")
    two = commands.add_parser("check", help="exit with 1 unless the newest report is current")
    two.add_argument("folder", type=Path, nargs="?", default=RESULTS)
    three = commands.add_parser("show", help="print a report")
    three.add_argument("file", type=Path)
    four = commands.add_parser("carried", help="exit with 1 unless a folder is of these sources")
    four.add_argument("folder", type=Path)
    commands.add_parser("importable", help="exit with 1 unless the extension serves the device")
    arguments = parser.parse_args()
    actions: dict[str, Callable[[], int | None]] = {
        "assemble": lambda: assemble(arguments.folder, arguments.to, arguments.rehearsal),
        "check": lambda: check(arguments.folder),
        "show": lambda: show(arguments.file),
        "carried": lambda: carried(arguments.folder),
        "importable": importable,
    }
    return actions[arguments.command]() or 0


if __name__ == "__main__":
    sys.exit(main())
