"""Scaling rules: from the parameters of a model's config to frequencies and factors."""

from .rope_scaling import RopeScaling

__all__ = ["RopeScaling"]
