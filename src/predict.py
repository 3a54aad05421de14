"""Classify new images with the best run, or a named one."""

import sys

from visionsweep.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
