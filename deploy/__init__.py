"""The installation: commands, composition, images."""

import gc

# What a start imports is no garbage; looking through it again and again is a quarter of a start.
gc.set_threshold(100_000, 20, 20)
