"""A corpus of any size, read by a Ray cluster into Parquet, one row a page."""
