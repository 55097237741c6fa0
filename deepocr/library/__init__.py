"""What `import deepocr` offers to programs: readers and their results."""
