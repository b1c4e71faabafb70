"""Speed, memory and cost: each figure beside a named peer, measured in the same run. Never a timed test."""
