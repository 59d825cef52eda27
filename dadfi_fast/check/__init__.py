"""What became of the fakes: written files through the deepfake models, as an adversary would."""
