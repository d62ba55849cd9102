"""``twofold learn``: lessons from stored picks, in this process, while no chat uses the folder."""

import time
from collections.abc import Callable

from chat_app.settings import Settings
from learner.model_folder import ModelFolder
from storage.base_models import settle
from storage.database import Store
from storage.folder import DataFolder
from storage.policy_registry import PolicyRegistry
from storage.pruning import prune
from storage.rounds import collect, sweep


def learn_from_folder(
    settings: Settings, model: ModelFolder, *, once: bool, say: Callable[[str], None]
) -> None:
    """Step and collect, once or until Ctrl+C; ``say`` is told how each round ended.

    Holds the folder as a server does, since two learners would give one number to two rounds.
    Raises DataFolderError where another twofold holds it.
    """
    from learner.build import LearnerBuild  # noqa: PLC0415 - torch, seconds

    folder = DataFolder(settings.data)
    with folder.claim(), Store(folder.database) as store:
        settle(store, sha256=model.sha256, name=model.name)
        policies = PolicyRegistry(store, folder.rounds)
        sweep(policies)
        learner = LearnerBuild(
            data=settings.data, model=model, engine=settings.engine, online=settings.online
        )()
        while True:
            report = learner.step()
            if report is not None:
                collect(policies)
                if not settings.keep_versions:
                    prune(policies)
                say(f"Round {report.number} was {report.status}: {report.reason}")
            elif once:
                say("There is no new pick to learn from.")
            if once:
                return
            time.sleep(settings.online.poll_s)
