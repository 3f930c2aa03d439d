"""``python -m pumpwatch.sim``."""

import sys

from pumpwatch.sim.main import main

if __name__ == "__main__":
    sys.exit(main())
