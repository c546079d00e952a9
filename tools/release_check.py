"""Say what keeps this tree from being released; exit with 1 if something does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def changelog_faults(text: str, version: str) -> list[str]:
    """Check that the version has a dated section, and that nothing waits for another."""
    found = []
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", text, flags=re.MULTILINE):
        found.append(f"CHANGELOG.md: expected a section '## {version} - <date>', found none")
    unreleased = re.search(
        r"^## Unreleased\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL
    )
    if unreleased and unreleased[1].strip():
        found.append("CHANGELOG.md: expected nothing under 'Unreleased', found entries")
    return found


def main() -> int:
    """Run every check, and print what each finds."""
    version = re.search(r'"(.+?)"', (ROOT / "ropescale_kernels" / "_version.py").read_text())
    assert version is not None
    faults = changelog_faults((ROOT / "CHANGELOG.md").read_text(), version[1])
    commands = {
        "pages": [sys.executable, "-m", "tools.pages", "--check"],
        "GPU report": [sys.executable, "-m", "tools.gpu.report", "check"],
        "work tree": ["git", "diff", "--quiet", "HEAD"],
    }
    for name, command in commands.items():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip() or "not as committed"
            faults += [f"{name}: {line}" for line in said.splitlines()]
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{version[1]} can be released: see CONTRIBUTING.md, 'How a release is made'")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
