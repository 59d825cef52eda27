"""Experiments: each writes a table and a figure."""
