"""Implementations on this machine: which run, why others do not, and how exact they are."""
