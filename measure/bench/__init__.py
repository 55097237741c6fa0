"""Measurements of speed, each against something else in the same run."""
