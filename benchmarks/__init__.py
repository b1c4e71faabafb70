"""Speed, memory and cost as ratios against a named peer of the same run; `python -m benchmarks` runs them all."""

import os

# As the stages and the server do: threads of XGBoost and torch otherwise wait for each other by spinning. It counts
# only if it is set before either is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
