"""What one transaction may know: the graph in time's order, histories, and the features made from them."""
