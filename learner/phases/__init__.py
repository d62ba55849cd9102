"""Training phases that a person starts: pretrain, sft, reward, ppo. One page on how they are run.

A phase is one file with a frozen settings dataclass and a class that fits ``protocol.Phase``; the
runner (``run.PhaseRun``) does all else: it asks for steps, keeps metrics, measures, checkpoints,
resumes, stops early, and has the result published once. ``sft.py`` is the one to copy.

    run     = PhaseRun(phase, place, watchers=..., fresh=False)
    outcome = run()                              # a version, a folder, or why neither

What a phase must hold, so that an interrupted run ends in exactly what an uninterrupted one does:

1. ``step(number)`` depends on nothing but its settings, its data, ``number`` and what ``state()``
   returns. So batches are drawn as a function of seed and number (``order.py``), and a generator
   that goes on from step to step is part of the state.
2. ``state()`` is complete: weights, optimiser moments, generators, counters, controllers.
   ``restore(state())`` changes nothing. PyTorch's, Python's and NumPy's global generators are kept
   by the runner.
3. ``measure()`` draws from generators of its own, made anew each time, and leaves the state as it
   was. It is called before the first step, every ``loop.evaluate_every`` steps and after the last.
4. ``publish`` may be called again after a kill: it looks first whether the product of this run is
   there already (``publish.py`` does).
5. Weights are read from ``place.engine`` and left in training on its backbone: parent's adapter
   copied by ``Backbone.open_training``, or all weights (``trainee.py``).

Several processes: each runs the same phase on the same batches; a step takes
``place.world.share(rows)`` and ends in ``place.world.sum_gradients(parameters)``, losses being
divided by the *whole* batch's count beforehand. Only ``world.is_main`` writes; ``publish`` runs
there alone. What is sampled or measured on one process is handed to the others by ``world.agree``.

The result is keyed: SHA-256 of kind, base, parent, data digest, chat template and dtype as the
engine has them, seed and settings (but for ``loop.checkpoint_every``, ``gate`` and ``make_live``,
which do not change the weights). The same command goes on where the last one of this key stopped; a
finished key answers with what it made, unless ``fresh``.

On disk: rows in ``phase_runs``, ``phase_metrics``, ``phase_ends`` (storage/phases.py); checkpoints
in ``DataFolder.phases``; an adapter becomes a round's folder and a policy version
(storage/rounds.py), whose ``config_json`` names the run key, kind and gate.
"""
