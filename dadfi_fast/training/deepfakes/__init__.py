"""Training of the deepfake models and of the classifier that judges their edits."""
