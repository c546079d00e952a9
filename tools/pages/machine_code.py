"""Read the machine code of the CUDA kernels out of the built extension.

python -m tools.pages.machine_code            print the table of docs/cuda_kernels.md
python -m tools.pages.machine_code --write    write it into the page
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ropescale_kernels as rk

from .marks import ROOT, part, replaced
from .marks import table as markdown_table

PAGE = ROOT / "docs" / "cuda_kernels.md"
_NAME = re.compile(
    r"(rotary_qk|scaling_grad)_kernelI(?:(f)|(?:NS_|N9ropescale)\d+(Half|BFloat16)E?)"
    r"(?:Lb([01])ELb([01])E)?E"
)
_REGISTERS = 65536  # of a multiprocessor, on every target
_THREADS = 128


@dataclass
class Kernel:
    """One instantiation on one target."""

    target: str
    operation: str
    dtype: str
    interleaved: bool
    vector: bool
    registers: int = 0
    stack: int = 0
    local: int = 0
    opcodes: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Name in the table."""
        if self.operation != "rotary_qk":
            return f"{self.operation} {self.dtype}"
        pairs = "interleaved" if self.interleaved else "halves"
        return f"rotary_qk {self.dtype} {pairs}, {'vectors' if self.vector else 'elements'}"

    @property
    def blocks(self) -> int:
        """Blocks of 128 threads that one multiprocessor holds, as far as registers go."""
        return _REGISTERS // (-(-self.registers // 8) * 8 * _THREADS)


def extension() -> Path:
    """Return the built extension of the checkout."""
    found = sorted((ROOT / "ropescale_kernels").glob("_C*.so"))
    if not found:
        raise SystemExit("ropescale_kernels: expected a built extension, got none")
    return found[-1]


def cuobjdump() -> Path | None:
    """Return the cuobjdump that comes with Triton, or None."""
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return path if path.exists() else None


def dump(*options: str | Path) -> str:
    tool = cuobjdump()
    assert tool is not None, "triton brings cuobjdump"
    done = subprocess.run(
        [str(tool), *map(str, options)], capture_output=True, text=True, check=True
    )
    return done.stdout


def _kernel_of(target: str, symbol: str) -> Kernel:
    found = _NAME.search(symbol)
    assert found is not None, symbol
    operation, plain, other, interleaved, vector = found.groups()
    dtype = "float32" if plain else {"Half": "float16", "BFloat16": "bfloat16"}[other]
    return Kernel(target, operation, dtype, interleaved == "1", vector == "1")


def kernels(path: Path, target: str | None = None) -> list[Kernel]:
    """Return every kernel in a file, for all targets or one, with resources and instructions."""
    only = ("-arch", target) if target else ()
    by_key: dict[tuple[str, str], Kernel] = {}
    for arch, symbol, line in _lines(dump(*only, "-res-usage", path)):
        use = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", line)
        if use:
            kernel = by_key[arch, symbol] = _kernel_of(arch, symbol)
            kernel.registers, kernel.stack, kernel.local = map(int, use.groups())
    for arch, symbol, line in _lines(dump(*only, "-sass", path)):
        opcode = re.match(r"\s+/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\d+ )?([A-Z][A-Z0-9_.]+)", line)
        if opcode:
            by_key[arch, symbol].opcodes[opcode[1]] += 1
    return list(by_key.values())


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield lines with their target and their function."""
    target = symbol = ""
    for line in text.splitlines():
        header = re.match(r"arch = (sm_\d+)", line)
        named = re.search(r"Function\s*:?\s+([\w$.]+)", line)
        if header:
            target = header[1]
        elif named:
            symbol = named[1].rstrip(":")
        elif symbol:
            yield target, symbol, line


def ptx(path: Path) -> str:
    """Return the PTX in a file."""
    return dump("-ptx", path)


def table(found: list[Kernel], compiler: str) -> str:
    """Return a row for each kernel: registers by target, and accesses of 16 bytes on sm_90."""
    targets = list(dict.fromkeys(kernel.target for kernel in found))
    by_name: dict[str, dict[str, Kernel]] = {}
    for kernel in found:
        by_name.setdefault(kernel.name, {})[kernel.target] = kernel
    shown = "sm_90" if "sm_90" in targets else targets[-1]
    caption = (
        f"{compiler}. Registers by target; blocks of 128 threads on a multiprocessor, loads and "
        f"stores of 16 bytes and instructions in all on {shown}. No kernel has a stack, a spill or "
        "local memory."
    )
    rows = []
    for name, by_target in by_name.items():
        at = by_target[shown]
        rows.append(
            [
                name,
                *(str(by_target[target].registers) for target in targets),
                str(at.blocks),
                str(at.opcodes["LDG.E.128"]),
                str(at.opcodes["STG.E.128"]),
                str(at.opcodes.total()),
            ]
        )
    headings = ["kernel", *targets, "blocks", "LDG.128", "STG.128", "instructions"]
    return f"{caption}\n\n{markdown_table(headings, rows)}"


def written() -> str:
    """Return the table that the page has."""
    return part(PAGE.read_text(), "machine code")


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.pages.machine_code",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    arguments = parser.parse_args()
    text = table(kernels(extension()), rk.build_info()["cuda"])
    if arguments.write:
        PAGE.write_text(replaced(PAGE.read_text(), {"machine code": text}))
    else:
        print(text)


if __name__ == "__main__":
    main()
