"""``dadfi-fast bench``: `command` has the groups; a benchmark with options of its own has a file."""
