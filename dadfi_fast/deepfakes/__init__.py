"""The deepfake models: the targets of training and the judges of the check."""
