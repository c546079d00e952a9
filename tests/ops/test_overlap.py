"""The arithmetic of _overlap against enumerating every element."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropescale_kernels.ops.overlap import Layout, overlap, overlaps_itself


def elements(layout: Layout) -> list[int]:
    return [
        layout.start + sum(i * s for i, s in zip(index, layout.strides, strict=True))
        for index in itertools.product(*(range(n) for n in layout.shape))
    ]


def layouts() -> st.SearchStrategy[Layout]:
    size, stride = st.integers(0, 4), st.integers(0, 14)
    outer = st.integers(2, 3).flatmap(
        lambda n: st.tuples(st.tuples(*[size] * n), st.tuples(*[stride] * n))
    )
    return st.builds(
        lambda start, axes, width: Layout(start, (*axes[0], width), (*axes[1], 1)),
        st.integers(0, 40),
        outer,
        st.integers(1, 5),
    )


@settings(max_examples=400, deadline=None)
@given(layouts())
def test_self_overlap_is_exact(layout: Layout) -> None:
    found = elements(layout)
    assert overlaps_itself(layout) == (len(set(found)) < len(found))


@settings(max_examples=400, deadline=None)
@given(layouts(), layouts())
def test_overlap_is_never_missed_nor_made_up(a: Layout, b: Layout) -> None:
    assert overlap(a, b) == bool(set(elements(a)) & set(elements(b)))


PACKED = {
    "packed qkv": (
        Layout(0, (4096, 32, 128), (6144, 128, 1)),
        Layout(4096, (4096, 8, 128), (6144, 128, 1)),
    ),
    "heads of q, k and v together": (
        Layout(0, (4, 512, 8, 64), (512 * 1536, 1536, 192, 1)),
        Layout(64, (4, 512, 8, 64), (512 * 1536, 1536, 192, 1)),
    ),
    "heads before tokens": (
        Layout(0, (4, 512, 8, 64), (24 * 512 * 64, 64, 512 * 64, 1)),
        Layout(8 * 512 * 64, (4, 512, 8, 64), (24 * 512 * 64, 64, 512 * 64, 1)),
    ),
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_layouts_are_apart_and_one_channel_more_is_not(name: str) -> None:
    q, k = PACKED[name]
    assert not overlap(q, k)
    assert not overlaps_itself(q)
    wider = Layout(q.start, (*q.shape[:-1], q.shape[-1] + 1), q.strides)
    assert overlap(wider, k)
