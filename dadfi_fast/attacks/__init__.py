"""What perturbs crops: the generator, the baselines, the control; all keep a budget."""
