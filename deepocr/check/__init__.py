"""The second reader: what a page shows and its text does not say, and the other way round."""
