"""What runs a generator on crops: one class a runtime, one promise for all."""
