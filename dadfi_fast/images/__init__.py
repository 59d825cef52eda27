"""Image file formats: pixels and metadata in and out; knows nothing of protection."""
