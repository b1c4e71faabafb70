"""The search for better training parameters: by Katib on a cluster, by Optuna on one machine, over one space."""
