"""Evaluates a model at natural prevalence, beside reference models, in metrics, plots and text."""
