"""Reward models that are language models themselves, for machines that can train one.

``adapter.py`` is an adapter over the chat model's own base, ``classifier.py`` a model of its own
(transformers' sequence classification), ``scores.py`` what both are trained with. They fit
``RewardModel`` as the Bayesian head on frozen features does.
"""
