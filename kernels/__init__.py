"""CUDA bodies of the operations in `dadfi_fast.ops`."""
