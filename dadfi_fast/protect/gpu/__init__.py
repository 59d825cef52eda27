"""Decoding, and the whole pipeline, on a GPU."""
