"""`python -m deepocr` is the command `deepocr`."""

import sys

from deepocr.cli import main

if __name__ == "__main__":
    sys.exit(main())
