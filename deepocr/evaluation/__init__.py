"""How well an engine reads: checks in olmOCR-bench's form, and distance to reference texts."""
