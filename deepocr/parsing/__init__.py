"""Parses an engine's text into regions."""
