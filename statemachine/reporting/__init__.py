"""What runs used, cost and reached, and how a history entry reads as a message. No decision depends on it."""
