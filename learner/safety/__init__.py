"""What to refuse and what not, and how often a version does either.

``specification.yaml`` says it in words, ``probes.yaml`` has messages of both kinds to try,
``refusals.py`` recognises a refusal by its wording, ``measure.py`` counts. docs/safety.md tells
what that is worth.
"""
