"""``python -m lotus_durable``: the command line."""

import sys

from lotus_durable.cli import main

if __name__ == "__main__":
    sys.exit(main())
