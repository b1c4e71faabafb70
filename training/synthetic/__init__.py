"""Synthetic TabFormer data: the real file's columns, quirks and marginals, relational fraud, deterministic by seed.

It replaces the real file, which we may not distribute. Results on it do not predict results on real fraud.
"""

from training.synthetic.generator import generate, simulate, slices
from training.synthetic.render import COLUMNS, render, write_csv
from training.synthetic.world import FRAUD_RATE

__all__ = ["COLUMNS", "FRAUD_RATE", "generate", "render", "simulate", "slices", "write_csv"]
