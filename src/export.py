"""Export a run's model for other programs, verified against its record, with a model card."""

import sys

from visionsweep.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
