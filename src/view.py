"""Look at runs in TensorBoard: opens it on the outputs, showing the latest sweep."""

import sys

from visionsweep.cli.view import main

if __name__ == "__main__":
    sys.exit(main())
