"""Searches for better training parameters, by Katib on a cluster or by Optuna on one machine, in the same space."""
