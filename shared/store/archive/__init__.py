"""Streams in a file: newline-delimited JSON with checksums, written so that it can be gone on with (EVT-3)."""
