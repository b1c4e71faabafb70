import os

# XGBoost's and torch's threads wait for each other by spinning otherwise, which costs several times the work itself.
# It counts only if it is set before either is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
