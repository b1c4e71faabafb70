"""What the pod of a stage does around the stage's work: storage, report, event, lineage and metrics."""
