"""The interpreter's instructions against results computed by hand from NVIDIA's PTX manual."""

from __future__ import annotations

import pytest
import torch
from support.ptx import snippets
from support.ptx.memory import FaultError
from support.ptx.program import Program, statement

# Statements that leave 32 bits in %r8, and those bits.
WORDS = {
    "add wraps": ("add.s32 %r8, 2147483647, 1;", 0x80000000),
    "sub": ("sub.s32 %r8, 3, 5;", 0xFFFFFFFE),
    "add of halves carries nothing": ("add.s16x2 %r8, 0x0001FFFF, 0x00020001;", 0x00030000),
    "neg": ("neg.s32 %r8, 7;", 0xFFFFFFF9),
    "not": ("not.b32 %r8, 0xF0F0F0F0;", 0x0F0F0F0F),
    "and": ("and.b32 %r8, 12, 10;", 8),
    "or": ("or.b32 %r8, 12, 10;", 14),
    "xor": ("xor.b32 %r8, 12, 10;", 6),
    "min is signed": ("min.s32 %r8, -1, 1;", 0xFFFFFFFF),
    "max is unsigned": ("max.u32 %r8, 0xFFFFFFFF, 1;", 0xFFFFFFFF),
    "mul.lo": ("mul.lo.s32 %r8, 0x10001, 0x10001;", 0x20001),
    "mul.hi": ("mul.hi.u32 %r8, 0xFFFFFFFF, 0xFFFFFFFF;", 0xFFFFFFFE),
    "mul.hi is signed": ("mul.hi.s32 %r8, -1, 2;", 0xFFFFFFFF),
    "mad.lo": ("mad.lo.s32 %r8, 3, 4, 5;", 17),
    "div rounds to zero": ("div.s32 %r8, -7, 2;", 0xFFFFFFFD),
    "rem has the sign of the dividend": ("rem.s32 %r8, -7, 2;", 0xFFFFFFFF),
    "div is unsigned": ("div.u32 %r8, 0xFFFFFFFF, 16;", 0x0FFFFFFF),
    "shl beyond the word": ("shl.b32 %r8, 1, 32;", 0),
    "shl by 31": ("shl.b32 %r8, 1, 31;", 0x80000000),
    "shr fills with the sign": ("shr.s32 %r8, -8, 1;", 0xFFFFFFFC),
    "shr beyond the word, signed": ("shr.s32 %r8, -8, 40;", 0xFFFFFFFF),
    "shr beyond the word, unsigned": ("shr.u32 %r8, 0x80000000, 40;", 0),
    "bfe": ("bfe.u32 %r8, 0xABCD1234, 8, 8;", 0x12),
    "bfe extends the sign": ("bfe.s32 %r8, 0x0000F000, 12, 4;", 0xFFFFFFFF),
    "bfi": ("bfi.b32 %r8, 0xFF, 0xABCD1234, 8, 4;", 0xABCD1F34),
    "prmt": ("prmt.b32 %r8, 0x33221100, 0x77665544, 0x7150;", 0x77115500),
    "prmt copies a sign": ("prmt.b32 %r8, 0x00008000, 0, 0x0009;", 0x000000FF),
    "cvt extends a sign": ("cvt.s32.s16 %r8, 0x00018000;", 0xFFFF8000),
    "cvt extends zeros": ("cvt.u32.u16 %r8, 0x00018000;", 0x8000),
    "cvt of an integer rounds": ("cvt.rn.f32.s32 %r8, 16777219;", 0x4B800002),
    "two bfloat16, the first above": (
        "cvt.rn.bf16x2.f32 %r8, 0f3F800000, 0f40490FDB;",
        0x3F804049,
    ),
    "two float16": ("cvt.rn.f16x2.f32 %r8, 0f3F800000, 0fC0000000;", 0x3C00C000),
    "selp": ("setp.lt.s32 %p1, -1, 0;\nselp.b32 %r8, 5, 6, %p1;", 5),
    "setp.lo is unsigned": ("setp.lo.u32 %p1, 0xFFFFFFFF, 0;\nselp.b32 %r8, 5, 6, %p1;", 6),
    "NaN is not less": ("setp.lt.f32 %p1, 0f7FC00000, 0f0;\nselp.b32 %r8, 5, 6, %p1;", 6),
    "NaN is less, unordered": (
        "setp.ltu.f32 %p1, 0f7FC00000, 0f0;\nselp.b32 %r8, 5, 6, %p1;",
        5,
    ),
    "NaN is not unequal": ("setp.ne.f32 %p1, 0f7FC00000, 0f0;\nselp.b32 %r8, 5, 6, %p1;", 6),
    "a guard": ("mov.u32 %r8, 1;\nsetp.eq.s32 %p1, 0, 0;\n@!%p1 mov.u32 %r8, 2;", 1),
    "a loop": (
        "mov.u32 %r8, 0;\nAGAIN:\nadd.s32 %r8, %r8, 3;\nsetp.lt.s32 %p1, %r8, 10;\n@%p1 bra AGAIN;",
        12,
    ),
    # 1 + 2^-24 ties to even; 1 + 3 * 2^-24 is halfway above.
    "add.f32 ties to even": ("add.rn.f32 %r8, 0f3F800000, 0f33800000;", 0x3F800000),
    # (1 + 2^-12)^2 - 1 = 2^-11 + 2^-24, exact; two roundings would lose the last term.
    "fma rounds once": ("fma.rn.f32 %r8, 0f3F800800, 0f3F800800, 0fBF800000;", 0x3A000400),
    "mul of denormals": ("mul.rn.f32 %r8, 0f00000002, 0f3F000000;", 0x00000001),
    "a third": ("rcp.rn.f32 %r8, 0f40400000;", 0x3EAAAAAB),
    "division by zero": ("div.rn.f32 %r8, 0f3F800000, 0f00000000;", 0x7F800000),
    "neg of zero": ("neg.f32 %r8, 0f00000000;", 0x80000000),
}
# Statements that leave 64 bits in %d8.
LONG = {
    "mul.wide": ("mul.wide.s32 %d8, -2, 3;", 2**64 - 6),
    "mul.wide is unsigned": ("mul.wide.u32 %d8, 0xFFFFFFFF, 2;", 0x1FFFFFFFE),
    "mad.wide": ("mad.wide.u32 %d8, 0xFFFFFFFF, 2, 2;", 0x200000000),
    "mul.lo.s64 wraps": ("mul.lo.s64 %d8, 0x100000001, 0x100000001;", 0x200000001),
    "shr.u64": ("shr.u64 %d8, -1, 60;", 15),
    "cvt of 32 bits": ("cvt.s64.s32 %d8, -5;", 2**64 - 5),
    "double": ("mul.rn.f64 %d8, 0d4000000000000000, 0d3FE0000000000000;", 0x3FF0000000000000),
    "float to double": ("cvt.f64.f32 %d8, 0f3F800000;", 0x3FF0000000000000),
    "pack": ("mov.b64 %d8, {1, 2};", 0x200000001),
    "unpack": (
        "mov.b64 {%r8, %r9}, 0x200000001;\ncvt.u64.u32 %d8, %r9;",
        2,
    ),
}
# Conversions to 16 bits: of float32 bits, to the bits.
NARROW = {
    "bf16": {
        0x3F808000: 0x3F80,  # ties to even
        0x3F818000: 0x3F82,
        0x7F7FFFFF: 0x7F80,  # the largest float32 rounds to infinity
        0x7FC00000: 0x7FFF,
        0xFF812345: 0x7FFF,
    },
    "f16": {
        0x3F801000: 0x3C00,  # ties to even
        0x3F803000: 0x3C02,
        0x33800000: 0x0001,  # 2^-24, the smallest denormal
        0x477FF000: 0x7C00,  # 65520 rounds to infinity
        0xFFC00000: 0x7FFF,
    },
}


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    lines, want = WORDS[name]
    assert snippets.value(lines, "cvt.u64.u32 %d8, %r8;") == want


@pytest.mark.parametrize("name", LONG)
def test_long_words(name: str) -> None:
    lines, want = LONG[name]
    assert snippets.value(lines) == want


@pytest.mark.parametrize("kind", NARROW)
def test_conversions_to_16_bits(kind: str) -> None:
    for given, want in NARROW[kind].items():
        lines = f"cvt.rn.{kind}.f32 %h1, 0f{given:08X};", "cvt.u64.u16 %d8, %h1;"
        assert snippets.value(*lines) == want, hex(given)


def test_conversions_from_16_bits() -> None:
    assert snippets.value("cvt.f32.bf16 %r8, 0x3F80;", "cvt.u64.u32 %d8, %r8;") == 0x3F800000
    assert snippets.value("cvt.f32.f16 %r8, 0x0001;", "cvt.u64.u32 %d8, %r8;") == 0x33800000


def test_a_shuffle_exchanges_lanes() -> None:
    out = snippets.run(
        "shfl.sync.bfly.b32 %r8, %r0, 5, 31, 0xffffffff;\ncvt.u64.u32 %d8, %r8;\n"
        "st.global.u64 [%d4], %d8;",
        threads=64,
    )
    lanes = torch.arange(64)
    assert torch.equal(out, lanes ^ 5)


def test_vectors_and_widths_of_memory() -> None:
    given = torch.tensor([0x1122334455667788, -1])
    # One thread reads 16 bytes, and writes its words in the other order.
    body = (
        "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d0];\n"
        "mov.b64 %d8, {%r2, %r1};\nst.global.u64 [%d1+0], %d8;\n"
        "ld.global.s16 %r5, [%d0+8];\ncvt.s64.s32 %d8, %r5;\nst.global.u64 [%d1+8], %d8;"
    )
    guarded = f"setp.ne.s32 %p1, %r0, 0;\n@%p1 bra OUT;\n{body}\nOUT:"
    out = snippets.run(guarded, threads=2, given=given)
    assert out.tolist() == [0x5566778811223344, -1]


def test_matrices_move_between_layouts() -> None:
    # Lane 4r + c holds columns 2c and 2c + 1 of row r of an 8 x 8 matrix.
    body = (
        "mov.u32 %r1, room;\n"
        "shl.b32 %r2, %r0, 4;\n"
        "add.s32 %r3, %r1, %r2;\n"
        "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r3], {%r0};\n"
        "bar.sync 0;\n"
        "shl.b32 %r4, %r0, 2;\n"
        "add.s32 %r5, %r1, %r4;\n"
        "ld.shared.b32 %r6, [%r5];\n"
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r7}, [%r3];\n"
        "mov.b64 %d8, {%r6, %r7};\n"
        "st.global.u64 [%d4], %d8;"
    )
    out = snippets.run(body, threads=32)
    lanes = torch.arange(32)
    # Row r of the matrix is at 16 r bytes, so word n of shared memory is lane n's.
    assert torch.equal(out & 0xFFFFFFFF, lanes)
    assert torch.equal(out >> 32, lanes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("add.f32 %f1, %f2, %f3;", "not rounded to nearest"),
        ("fma.rn.ftz.f32 %f1, %f2, %f3, %f4;", "not rounded to nearest"),
        ("div.full.f32 %f1, %f2, %f3;", "not rounded to nearest"),
        ("div.u32 %r1, 1, 0;", "division by zero"),
        ("bfe.u32 %r1, 1, 30, 4;", "beyond the word"),
    ],
)
def test_faults_of_arithmetic(line: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        snippets.run(line)


@pytest.mark.parametrize(
    "line", ["sin.approx.f32 %f1, %f2;", "atom.global.add.u32 %r1, [%d1], 1;", "ld.u32 %r1, [%d0];"]
)
def test_an_instruction_that_is_unknown_is_an_error(line: str) -> None:
    with pytest.raises(NotImplementedError):
        snippets.run(line)


def test_statements_are_read() -> None:
    read = statement("@!%p2 ld.global.v2.b32 { %r1, %r2 }, [ %rd3 + -16 ]")
    assert (read.guard, read.negated, read.name) == ("%p2", True, "ld")
    assert read.operands == ("{ %r1, %r2 }", "[ %rd3 + -16 ]")
    assert statement("shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, -1").operands[0] == "%r1|%p1"


def test_one_kernel_is_asked_for() -> None:
    text = ".entry first() { ret; } .entry second() { ret; }"
    assert Program(text, "second").name == "second"
    with pytest.raises(ValueError, match="expected one kernel"):
        Program(text, "third")
