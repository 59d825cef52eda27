"""From a folder of photos to a folder of protected photos."""
