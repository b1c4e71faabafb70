"""The migration from SageMaker: phases, parity, baseline, decommissioning. This part has an end date."""
