"""What measures and compares: benches, parity, stand-in weights. It is not installed."""
