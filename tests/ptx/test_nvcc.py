"""What nvcc makes of the CUDA kernels, run in the interpreter: the bits of impl="cpu".

A NaN equals any NaN: the device's conversions to 16 bits make 0x7fff, the CPU's keep a payload.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from support.bits import WORDS
from support.ptx import calls, nvcc
from support.ptx.machine import ORDERS
from support.ptx.memory import FaultError
from support.ptx.nvcc import Runner
from support.ptx.program import Program, Statement
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.backends import cuda
from tools import contract
from tools.contract import Case
from tools.contract.draws import draw, yarn
from tools.pages import machine_code

pytestmark = pytest.mark.skipif(nvcc.compiler() is None, reason="nvcc: not found")
# The lowest target whose kernels wait for the kernel before.
ARCHITECTURE = 90


@pytest.mark.parametrize("dtype", WORDS)
def test_every_call_has_the_bits_of_the_cpu(dtype: torch.dtype) -> None:
    runner = Runner(nvcc.ptx(ARCHITECTURE))
    wrong = {}
    for i, call in enumerate(calls.of_dtype(dtype)):
        try:
            runner.run(call, order=ORDERS[i % len(ORDERS)])
        except FaultError as fault:
            wrong[call.name] = str(fault)
        else:
            if call.wrong():
                wrong[call.name] = f"{call.wrong()} elements differ"
    assert wrong == {}
    # Both pairings, vectors and elements; and most statements of each kernel.
    assert len(runner.programs) == 4
    for name, program in runner.programs.items():
        seen = set().union(*(each.seen for each in runner.machines if each.program is program))
        assert len(seen) >= 0.8 * len(program.statements), name


def test_every_kernel_is_of_a_dtype_or_sums_gradients() -> None:
    names = nvcc.kernels(nvcc.ptx(ARCHITECTURE))
    assert len(names) == 4 * len(WORDS) + len(WORDS)
    assert sum(name.startswith("scaling_grad") for name in names) == len(WORDS)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", WORDS)
def test_sums_of_gradients(
    dtype: torch.dtype, interleaved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of scaling_grad are those of the same source compiled for the host."""
    compared = []
    runner = Runner(nvcc.ptx(ARCHITECTURE))
    extension = cuda._extension
    run = extension.scaling_grad_cuda

    def compare(spec: Any, sums: Tensor, *where: Any) -> None:
        run(spec, sums, *where)
        want = sums.clone()
        sums.fill_(float("nan"))
        launch = runner.recorded(lambda: run(spec, sums, *where))
        inputs = (spec.q, spec.k, spec.q_out, spec.k_out, spec.position_ids, *spec.table.state)
        runner.interpret(launch, inputs, (sums,))
        compared.append(torch.equal(sums, want))

    monkeypatch.setattr(extension, "scaling_grad_cuda", compare)
    source = yarn(64).inv_freq.requires_grad_()
    table = rk.RotaryTable.from_inv_freq(source, torch.tensor(1.2))
    q, k = draw(2, 9, 4, 96, dtype=dtype), draw(2, 9, 2, 96, dtype=dtype, seed=1)
    options = {"interleaved": interleaved, "conjugate": interleaved, "impl": "cuda"}
    outs = rk.apply_rotary_qk(q, k, torch.arange(9) * 101, table, **options)
    torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])
    assert compared == [True]


def test_the_flags_are_those_of_the_build() -> None:
    """The PTX in the built extension is, but for names of files, what these tests compile."""
    if machine_code.cuobjdump() is None:
        pytest.skip("cuobjdump: not found; Triton brings it")
    shipped = machine_code.ptx(machine_code.extension())
    (architecture,) = set(re.findall(r"^\.target sm_(\d+)", shipped, re.M))
    for name in nvcc.kernels(shipped):
        mine = Program(nvcc.ptx(int(architecture)), name)
        theirs = Program(shipped, name)
        assert [_without_names(each) for each in mine.statements] == [
            _without_names(each) for each in theirs.statements
        ], name


def _without_names(statement: Statement) -> str:
    return re.sub(r"_ZN9ropescale\w+?_param", "param", statement.text)


def planted_call() -> calls.Call:
    """Return a call of which some threads have no token: the tokens fill no block."""
    case = Case(
        layout="tokens",
        heads=(9, 3),
        head_dim=128,
        rotary_dim=128,
        batch=1,
        seqlen=19,
        position_ids=contract.far(19),
    )
    return next(calls.rotations("planted", case, torch.bfloat16))


class Planter:
    """Plants faults in the kernel of one call.

    Attributes:
        program: The kernel.
        seen: The statements that the call runs, in order.
    """

    def __init__(self) -> None:
        runner, call = Runner(nvcc.ptx(ARCHITECTURE)), planted_call()
        machine = runner.run(call)
        assert call.wrong() == 0
        (self._name,) = runner.programs
        self.program = machine.program
        self.seen = sorted(machine.seen)

    def find(self, pattern: str) -> list[int]:
        """Return the statements of the call that match."""
        found = [at for at in self.seen if re.search(pattern, self.program.statements[at].text)]
        assert found, pattern
        return found

    def outcome(self, program: Program) -> str:
        """Run the call on a kernel, and return what the tests above would have seen."""
        call = planted_call()
        try:
            Runner("", {self._name: program}).run(call)
        except FaultError as fault:
            return str(fault)
        return "wrong bits" if call.wrong() else "sound"


@pytest.fixture(scope="module")
def planter() -> Planter:
    return Planter()


def test_the_kernel_without_a_fault_is_sound(planter: Planter) -> None:
    assert planter.outcome(planter.program) == "sound"


# Of statements that are many and alike, every tenth.
STRIDES = {"a conversion truncates": 10, "a product that may be fused": 10}
NOTHING = "griddepcontrol.launch_dependents"
# What takes the place of a statement: every one that the call runs, one at a time.
REPLACED = {
    "a store dropped": (r"^st\.global", lambda text: NOTHING, "wrong bits"),
    "a store shifted": (
        r"^st\.global",
        lambda text: re.sub(r"\[(%\w+)(?:\+(\d+))?\]", _shifted, text),
        "two threads write|beyond|wrong bits",
    ),
    "a conversion truncates": (
        r"^cvt\.rn\.bf16",
        lambda text: text.replace(".rn.", ".rz."),
        "wrong bits",
    ),
    "a product that may be fused": (
        r"^mul\.rn\.f32",
        lambda text: text.replace(".rn", ""),
        "not rounded to nearest",
    ),
}


def _shifted(found: re.Match[str]) -> str:
    return f"[{found[1]}+{int(found[2] or 0) + 16}]"


@pytest.mark.parametrize("name", REPLACED)
def test_planted_faults_are_caught(name: str, planter: Planter) -> None:
    pattern, replace, expected = REPLACED[name]
    for at in planter.find(pattern)[:: STRIDES.get(name, 1)]:
        text = planter.program.statements[at].text
        outcome = planter.outcome(planter.program.replaced(at, replace(text)))
        assert re.search(expected, outcome), (text, outcome)


def test_a_dropped_token_guard_is_caught(planter: Planter) -> None:
    guard = planter.find(r"^@%p\d+ bra")[0]
    outcome = planter.outcome(planter.program.replaced(guard, NOTHING))
    assert re.search("two threads write|what another|beyond", outcome), outcome


def test_a_wait_moved_behind_a_load_is_caught(planter: Planter) -> None:
    (wait,) = planter.find(r"^griddepcontrol\.wait")
    loads = planter.find(r"^ld\.global")
    outcome = planter.outcome(planter.program.moved(wait, loads[0]))
    assert "ahead of griddepcontrol.wait" in outcome
