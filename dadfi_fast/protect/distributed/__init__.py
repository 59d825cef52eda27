"""Where tasks of a run are worked on: in processes of this machine, or on a Ray cluster."""
