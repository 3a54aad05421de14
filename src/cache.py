"""Look at the feature store, verify it, or delete what it holds."""

import sys

from visionsweep.cli.cache import main

if __name__ == "__main__":
    sys.exit(main())
