"""What works: the queue, the worker process and its supervisor."""
