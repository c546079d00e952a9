"""Scaling rules: from the parameters of a model's config to frequencies and factors."""

from ropescale_kernels.scaling.rope_scaling import RopeScaling

__all__ = ["RopeScaling"]
