"""Write tests/fixtures/model_types.json from a sweep over the installed Transformers."""

from __future__ import annotations

import sys
import warnings

from . import table


def main() -> int:
    """Write the table."""
    from transformers.utils import logging

    logging.set_verbosity(logging.CRITICAL)
    warnings.simplefilter("ignore")
    entries = {name: table.entry(table.outcomes(name)) for name in table.model_types()}
    table.FILE.write_text(table.text(table.document(entries)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
