"""Shadow replay: candidate and champion on the serving image, asked the same recent requests, before any pod is."""
