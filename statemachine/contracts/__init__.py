"""What crosses a process boundary: stage requests, reports, KFP runs, the gate, the metric catalogue, errors."""
