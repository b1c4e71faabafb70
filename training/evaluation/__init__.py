"""How good a model is: at natural prevalence, beside its rivals, in figures, plots and words."""
