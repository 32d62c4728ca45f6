"""``ngff-convert`` and ``python -m ngff_convert``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command; an interruption while it is still loading ends it without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ngff_convert.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
