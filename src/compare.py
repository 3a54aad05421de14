"""Print the leaderboard of finished runs, best first by validation loss, and what it proves."""

import sys

from visionsweep.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
