"""The command line: `main` is the lazy group, and each command has a file of its name."""
