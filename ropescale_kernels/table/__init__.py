"""The rotary table: what kernels read in place of cosines and sines."""

from .rotary_table import RotaryTable

__all__ = ["RotaryTable"]
