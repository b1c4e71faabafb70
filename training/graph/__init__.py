"""The transaction graph in time order, the histories read from it, and the features computed from them."""
