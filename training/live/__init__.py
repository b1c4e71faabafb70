"""Live scoring: the state of each entity in the online store (Valkey), and the features of one payment from it."""
