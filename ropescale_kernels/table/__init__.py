"""The rotary table, which kernels read in place of cosines and sines."""

from .rotary_table import RotaryTable

__all__ = ["RotaryTable"]
