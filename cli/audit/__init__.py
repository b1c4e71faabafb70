"""The audit file of a decision: gathered from the record, packed, signed, verified."""
