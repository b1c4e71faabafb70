"""The model and how it is learned: seeds, encoders, head, threshold, checkpoints."""
