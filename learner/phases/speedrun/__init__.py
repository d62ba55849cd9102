"""All phases in a row on the shared data: base, pretrain, sft, reward, ppo, live; and one report.

``run.py`` is the one to read. Each phase resumes by itself, and what was measured of a version is
kept, so the same command goes on wherever it was stopped.
"""
