"""From a trained model to an immutable version that Triton can load."""
