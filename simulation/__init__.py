"""For tests and benchmarks only: the system in memory, fault injection, quick stages, a Katib stand-in."""
