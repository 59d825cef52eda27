"""From a trained generator to what other runtimes read."""
