"""The Bayesian reward ensemble: features, fit, scores."""
