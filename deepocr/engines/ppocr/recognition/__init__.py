"""Lines: found, read, cut where several were found as one."""
