"""Turns results into output formats: Markdown, JSON, pictures, HTML, PDF."""
