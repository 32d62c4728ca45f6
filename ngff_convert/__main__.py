"""Run the command with ``python -m ngff_convert``."""

import sys

from ngff_convert.cli import main

sys.exit(main())
