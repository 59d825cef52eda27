"""The command line: `main` is the lazy group; each command has a file of its name, or a folder with ``command.py``."""
