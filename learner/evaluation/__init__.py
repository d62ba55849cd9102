"""Measuring: a policy against its base, and the reward ensemble on recorded choices."""
