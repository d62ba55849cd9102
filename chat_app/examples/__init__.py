"""Prompts and simulated raters that ship with twofold, so that a first simulation needs no file."""
