"""dadfi-fast: protects photos of faces against deepfake models, at the speed of their codec."""

__version__ = "0.1.0"
