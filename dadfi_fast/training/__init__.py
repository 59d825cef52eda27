"""Training of the generator and of the deepfake models: needs the extra [train]."""
