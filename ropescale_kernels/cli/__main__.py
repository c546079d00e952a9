"""`python -m ropescale_kernels.cli`."""

from . import main

main()
