"""The KFP components and pipelines, where their steps run, and how they are published."""
