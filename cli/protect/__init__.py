"""``dadfi-fast protect``: `command` has its options, `run` one call of it."""
