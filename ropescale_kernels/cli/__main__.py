"""`python -m ropescale_kernels.cli`."""

import sys

from . import main

sys.exit(main())
