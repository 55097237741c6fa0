"""Books: many pages in, one folder out, no page lost."""
