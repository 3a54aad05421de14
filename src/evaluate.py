"""Score a stored run on any images: each metric with its 95% interval, and each class."""

import sys

from visionsweep.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
