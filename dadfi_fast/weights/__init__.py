"""What ships: models as ONNX, each with its card (see `dadfi_fast.card`). This package holds data only."""
