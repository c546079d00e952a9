"""One module per implementation, loaded on first use by `ops/implementations.py`."""
