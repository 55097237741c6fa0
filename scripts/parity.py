#!/usr/bin/env python3
"""Hold the network against numbers from the official implementation; see docs/parity.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure.parity.command import main

if __name__ == "__main__":
    sys.exit(main())
