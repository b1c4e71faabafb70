"""Turns a trained model into an immutable version that Triton can load."""
