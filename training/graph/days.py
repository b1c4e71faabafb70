"""Times in seconds since the epoch; without torch, which the conversion of raw files must not load."""

DAY = 86_400
NEVER = 253_402_300_799  # when a label will be known that is not yet: the end of the year 9999
