"""``dadfi-fast models``: `command` lists and verifies; `add` and `train` have a file each."""
