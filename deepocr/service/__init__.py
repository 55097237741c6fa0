"""The service: an HTTP API, a queue and workers for more than one user and machine."""
