"""Getting a checkpoint onto this machine, whole or not at all."""
