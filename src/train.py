"""Train one experiment, or with -m a sweep of them."""

import sys

from visionsweep.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
