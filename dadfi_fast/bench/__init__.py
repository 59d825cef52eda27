"""How fast it is, measured beside its control lines."""
