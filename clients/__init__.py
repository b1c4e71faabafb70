"""Clients of KFP, Kubernetes and EventBridge Scheduler, for stages and commands. The Lambdas have adapters."""
