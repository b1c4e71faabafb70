"""Measures speed, memory and cost as ratios to a named peer of the same run. `python -m benchmarks` runs all."""

import os

# As in the stages and the server: the threads of XGBoost and torch otherwise spin while they wait for each other. The
# variable only takes effect if it is set before either is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
