"""What reads a page: one protocol (base), several engines, one registry."""
