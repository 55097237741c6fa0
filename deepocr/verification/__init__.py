"""Is this installation sound? Samples with known texts, read in every way the engine can."""
