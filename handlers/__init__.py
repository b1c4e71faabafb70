"""The Lambda handlers: parse, call one thing, say what came of it."""

import gc

# A cold start makes some hundred thousand objects and no garbage; looking for it costs 8 % of the start's CPU time.
gc.set_threshold(200_000, 50, 50)
