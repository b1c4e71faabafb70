"""The log of scored payments: from the store's stream to Parquet, and what is read from it."""
