"""All that one day, or eight minutes, with a GPU can tell: scripts/gpu_report.py."""
