"""Every model type of the installed Transformers, read by its own class and by this package.

`python -m tools.sweep` writes the table of outcomes, tests/fixtures/model_types.json. The tests
repeat the sweep and compare (tests/parity/test_sweep.py).
"""
