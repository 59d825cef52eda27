"""``dadfi-fast doctor``: `command` prints what the other files find out."""
