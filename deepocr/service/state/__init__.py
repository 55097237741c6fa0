"""What is kept: tasks' states and files."""
