"""What a run learns from: raw files, checked, converted, split by time, featurised and profiled."""
