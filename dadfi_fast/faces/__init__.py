"""Faces in photos: found, cut out, and put back."""
