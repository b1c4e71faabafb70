"""The Lambda handlers: each parses its event, calls one function and reports the result."""

import gc

# A cold start allocates some hundred thousand objects and no garbage. Collecting would cost 8 % of its CPU time.
gc.set_threshold(200_000, 50, 50)
