"""What runs inside Triton, and what fetches it there; a version carries its own copy of this code."""
