"""``twofold simulate``: from files to a folder with summary and curve."""

from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chat_app.config import ServiceConfig
from chat_app.progress import no_learner
from chat_app.service import ChatService
from chat_app.settings import Learning, Settings
from chat_app.simulate.checkpoint import Checkpoint, Measuring
from chat_app.simulate.curve import draw_curve
from chat_app.simulate.keys import TurnKeys
from chat_app.simulate.plan import SimulationPlan, run_config
from chat_app.simulate.prompts import in_shuffled_cycles, read_prompts, shipped_eval_prompts
from chat_app.simulate.rater import load_rater
from chat_app.simulate.run import Loop, Simulation
from chat_app.simulate.summary import SUMMARY, RunFolder
from learner.asking import AskingReplyMaker
from learner.build import LearnerBuild, build_replies
from learner.evaluation.examiner import Examiner
from learner.model_folder import ModelFolder
from storage.base_models import settle
from storage.database import Store
from storage.folder import DataFolder
from storage.logs import Logs

EVERY = 1 << 30
"""More messages than a run has."""


def simulate_into(
    plan: SimulationPlan, settings: Settings, model: ModelFolder, say: Callable[[str], None]
) -> None:
    """Run ``plan``, or the rest of it, and leave its folder.

    Raises SimulationError and what the parts raise.
    """
    started = perf_counter()
    rater = load_rater(plan.rater)
    prompts = read_prompts(plan.prompts)
    eval_prompts = read_prompts(plan.eval_prompts) if plan.eval_prompts else shipped_eval_prompts()
    folder = RunFolder(plan.out, run_config(plan, settings, model.sha256))
    if not folder.claim():
        say(f"This run is in {plan.out} already, finished.")
        return
    with ExitStack() as stack:
        replies = build_replies(
            model,
            engine=settings.engine,
            ask=settings.ask,
            reward=settings.online.reward,
            taught=settings.learning is not Learning.OFF,
        )
        loop = _loop(stack, settings, model, replies)
        measuring = Measuring(
            Examiner(replies, settings.engine.sampling),
            rater,
            eval_prompts,
            seed=plan.seed,
            burn_in=settings.ask.burn_in,
        )
        order = in_shuffled_cycles(prompts, np.random.default_rng([plan.seed, 0]))
        simulation = Simulation(loop, rater, order, measuring, seed=plan.seed)
        bar = stack.enter_context(_progress_bar())
        task = bar.add_task("turns", total=plan.turns)
        last = folder.checkpoints[-1] if folder.checkpoints else None
        for checkpoint in simulation.run(
            plan.turns,
            measured=last.turn if last else -1,
            started=started - (last.seconds if last else 0.0),
            said=lambda turn: bar.update(task, completed=turn),
        ):
            folder.add(checkpoint)
            draw_curve(folder.checkpoints, folder.curve, title=_title(plan, model))
            bar.console.print(_line(checkpoint), highlight=False, soft_wrap=True)
    say(f"Written to {plan.out / SUMMARY}.")


def _loop(
    stack: ExitStack, settings: Settings, model: ModelFolder, replies: AskingReplyMaker
) -> Loop:
    """The parts that serve a person, over the run's data folder, closed with ``stack``."""
    data = DataFolder(settings.data)
    store = stack.enter_context(Store(data.database))
    settle(store, sha256=model.sha256, name=model.name)
    keys = TurnKeys(settings.engine.seed)
    logs = Logs.over(store, data.rounds, new_key=keys)
    service = ChatService(
        logs,
        replies,
        ServiceConfig(
            model_name=model.name,
            max_message_chars=1_000_000,  # a prompt that is too long for the model says so itself
            seed=settings.engine.seed,
            collect_every_s=0,
            resumed=EVERY,  # a run that was cut off ends as if it had not been
            keep_versions=settings.keep_versions,
        ),
        no_learner,
    )
    stack.callback(service.close)
    learner = None
    if settings.learning is Learning.ON:
        # Turns and rounds take turns here, so one model does for both.
        learner = LearnerBuild(
            data=settings.data, model=model, engine=settings.engine, online=settings.online
        ).on(replies.engine)
    return Loop(
        service=service,
        conversations=logs.conversations,
        feedback=logs.feedback,
        policies=logs.policies,
        learner=learner,
        keys=keys,
    )


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def _line(c: Checkpoint) -> str:
    low, high = c.win_rate_ci
    return (
        f"turn {c.turn:4}  win rate {c.win_rate_vs_base:.0%} ({low:.0%} to {high:.0%})  "
        f"weights only {c.win_rate_weights_only:.0%}  asked {c.asked}  v{c.live_version}  "
        f"KL {c.kl_to_base:.3f}  {c.mean_length_tokens:.0f} tokens  {c.seconds:.0f} s"
    )


def _title(plan: SimulationPlan, model: ModelFolder) -> str:
    return f"{model.name}, rater {plan.rater.stem}, seed {plan.seed}"
