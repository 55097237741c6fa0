"""What measures and compares: benches, evaluation, verification, parity. It is not installed."""
