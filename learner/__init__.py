"""The loop: asking, reward ensemble, policy update, decoding, gate. Knows nothing of the page."""

import os

# OpenMP's threads wait for their next work by spinning, for milliseconds unless told otherwise, on
# the very core that the compiled step needs next: steps took twice as long (docs/decisions/0004).
# About fifty microseconds keep a prefill's products as fast. Read when PyTorch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
