"""`python -m measure.check`."""

from measure.check.command import main

main()
