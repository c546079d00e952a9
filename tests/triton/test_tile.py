"""Launch choices are arithmetic: they cover every token and head once, and fill the device."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("triton")
from ropescale_kernels.backends.triton.launch_config import PROGRAMS_PER_SM, Tile, grid_of, tile_of

SMS = 132


@pytest.mark.parametrize("rotary_dim", [2, 6, 64, 80, 96, 128, 192, 256, 512])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_a_tile_is_rows_of_sixteen_bytes_a_thread(rotary_dim: int, itemsize: int) -> None:
    tile = tile_of(rotary_dim, itemsize)
    assert all(size & (size - 1) == 0 for size in tile)
    assert rotary_dim // 2 <= tile.block_pairs < max(2, rotary_dim)
    threads = 32 * tile.num_warps
    row = max(1, tile.block_pairs * itemsize // 16)
    assert tile.block_tokens == max(1, threads // row)
    assert tile_of(rotary_dim, itemsize, warp_size=64).num_warps == tile.num_warps // 2


TILE = tile_of(128, 2)


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("seqlen", [1, 7, 8, 9, 4096])
@pytest.mark.parametrize("num_heads", [1, 2, 4, 5, 9, 40, 129])
def test_a_grid_covers_everything_once(batch: int, seqlen: int, num_heads: int) -> None:
    for tile in (TILE, Tile(2, 64, 1, 2), Tile(4, 1, 256, 2)):
        grid = grid_of(tile, batch, seqlen, num_heads, PROGRAMS_PER_SM * SMS)
        assert grid.blocks_per_sequence == math.ceil(seqlen / tile.block_tokens)
        assert grid.num_blocks == batch * grid.blocks_per_sequence
        groups = [
            range(first, min(num_heads, first + grid.heads_per_program))
            for first in range(0, grid.num_groups * grid.heads_per_program, grid.heads_per_program)
        ]
        assert [head for group in groups for head in group] == list(range(num_heads))
        assert all(groups)
        assert grid.heads_per_program % tile.block_heads == 0
        # Sines are computed again only where there are programs to spare.
        assert grid.num_groups == 1 or grid.num_blocks < PROGRAMS_PER_SM * SMS


def test_few_tokens_are_cut_by_heads_and_many_are_not() -> None:
    wanted = PROGRAMS_PER_SM * SMS
    assert grid_of(TILE, 1, 1, 40, wanted)[1:] == (1, 2, 20)
    assert grid_of(TILE, 1, 32768, 40, wanted)[1:] == (4096, 40, 1)
    assert grid_of(TILE, 1, 1, 40, 1).num_groups == 1
    between = grid_of(TILE, 1, 8192, 40, wanted)
    assert (between.num_blocks, between.num_groups) == (1024, 3)
