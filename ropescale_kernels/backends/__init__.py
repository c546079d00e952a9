"""One module per implementation, loaded on first use by `_dispatch`."""
