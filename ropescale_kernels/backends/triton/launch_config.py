"""Launch choices, as plain arithmetic on sizes.

Only the grid depends on the number of tokens, so that no number of tokens compiles anything.
"""

from __future__ import annotations

from typing import NamedTuple

# Threads of a program, and heads whose loads are in flight together. With more heads Triton 3.6
# takes twice the registers, and fewer programs fit a multiprocessor.
_THREADS = 64
_BLOCK_HEADS = 2
# Programs that keep one multiprocessor busy.
PROGRAMS_PER_SM = 16


class Tile(NamedTuple):
    """The elements that one program holds at a time."""

    block_heads: int
    block_tokens: int
    block_pairs: int
    num_warps: int


class Grid(NamedTuple):
    """The programs that a call is cut into."""

    blocks_per_sequence: int
    num_blocks: int
    heads_per_program: int
    num_groups: int


def tile_of(rotary_dim: int, itemsize: int, warp_size: int = 32) -> Tile:
    """Choose a tile in which every thread loads 16 bytes of a row at a time.

    Args:
        rotary_dim: Channels rotated.
        itemsize: Bytes of an element.
        warp_size: Threads of a warp.

    Returns:
        The tile: powers of two.
    """
    block_pairs = 1 << (rotary_dim // 2 - 1).bit_length()
    threads_per_row = max(1, block_pairs * itemsize // 16)
    block_tokens = max(1, _THREADS // threads_per_row)
    return Tile(_BLOCK_HEADS, block_tokens, block_pairs, _THREADS // warp_size)


def grid_of(tile: Tile, batch: int, seqlen: int, num_heads: int, wanted: int) -> Grid:
    """Cut tokens into blocks, and heads into groups if the blocks alone would leave SMs idle.

    Args:
        tile: The elements that a program holds.
        batch: Sequences.
        seqlen: Tokens of each.
        num_heads: Heads of q and k together.
        wanted: Programs that keep the device busy.

    Returns:
        The grid; at many tokens one group of all heads, so that a token's sines are computed once.
    """
    blocks_per_sequence = -(-seqlen // tile.block_tokens)
    num_blocks = blocks_per_sequence * batch
    most_groups = -(-num_heads // tile.block_heads)
    groups = min(most_groups, -(-wanted // num_blocks))
    steps = -(-most_groups // groups)
    return Grid(blocks_per_sequence, num_blocks, steps * tile.block_heads, -(-most_groups // steps))
