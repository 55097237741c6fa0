"""From what an engine wrote to regions."""
