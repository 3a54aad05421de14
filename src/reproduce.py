"""Run a record again from its own configuration, and say whether it comes to the same numbers."""

import sys

from visionsweep.cli.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
