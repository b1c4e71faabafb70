"""What every stage's pod does around its work: storage, report, event, lineage, figures."""
