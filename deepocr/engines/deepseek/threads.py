"""OpenMP's settings, which must be in the environment before torch is imported.

Between two products OpenMP's threads spin as long as they are let. On a machine that does anything
else they then wait for one another's time slices: a decode step takes up to 30 times as long.
Bound to their cores and asleep after a short spin they do not.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping

log = logging.getLogger(__name__)

THREAD_SETTINGS: Mapping[str, str] = {"OMP_PROC_BIND": "true", "GOMP_SPINCOUNT": "20000"}
"""Spins of some tens of microseconds: longer than what lies between two operations of a step."""


def set_thread_defaults(environment: MutableMapping[str, str]) -> None:
    """Add what the user has not set."""
    missing = [name for name in THREAD_SETTINGS if name not in environment]
    if missing and "torch" in sys.modules:
        log.debug("torch was imported before %s could be set", ", ".join(missing))
    for name in missing:
        environment[name] = THREAD_SETTINGS[name]
