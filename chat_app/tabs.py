"""The services behind the tabs beside the chat, put together over one data folder."""

from collections.abc import Callable
from dataclasses import dataclass

from chat_app.api_key import ApiKey
from chat_app.completions import Completions
from chat_app.data_service import DataHooks, DataService
from chat_app.learning_service import LearningService
from chat_app.lesson_demo import LessonDemo
from chat_app.models_service import ModelsService
from chat_app.service import ChatService
from chat_app.settings import Settings
from chat_app.settings_service import SettingsService
from learner.control import LearnerControl
from learner.model_folder import ModelFolder
from learner.protocols import ReplyMaker
from storage.database import Store
from storage.duels import DuelReader
from storage.folder import DataFolder
from storage.imports import ImportLog
from storage.logs import Logs
from storage.pick_list import PickReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabs:
    learning: LearningService
    demo: LessonDemo
    data: DataService
    models: ModelsService
    settings: SettingsService
    completions: Completions
    api_key: ApiKey


def build_tabs(
    *,
    folder: DataFolder,
    settings: Settings,
    store: Store,
    logs: Logs,
    replies: ReplyMaker,
    service: ChatService,
    control: LearnerControl | None,
    model: ModelFolder | None = None,
    revive: Callable[[], None] = lambda: None,
) -> Tabs:
    """``control`` None: no learner runs beside this chat. ``revive`` starts one that gave up.
    ``model`` None: a script speaks."""
    duels, picks, policies = DuelReader(store), PickReader(store), logs.policies
    own_settings = SettingsService(
        folder=folder,
        store=store,
        settings=settings,
        configure=lambda ask, sampling: service.on_model(lambda: replies.configure(ask, sampling)),
        refit=service.refit_soon,
    )
    return Tabs(
        learning=LearningService(
            trends=logs.trends,
            duels=duels,
            policies=policies,
            taste=replies.taste,
            control=control,
            revive=revive,
        ),
        demo=LessonDemo(policies=policies, picks=picks, replies=replies, on_model=service.on_model),
        data=DataService(
            reader=store,
            picks=picks,
            logs=logs,
            imports=ImportLog(store),
            replies=replies,
            hooks=DataHooks(
                on_model=service.on_model,
                answered=service.answered,
                refit=service.refit_soon,
                version_changed=service.version_changed,
                delete_chat=service.shelf.delete,
            ),
        ),
        models=ModelsService(
            policies=policies,
            duels=duels,
            model_name=service.model_name,
            changed=service.version_changed,
            base=model,
        ),
        settings=own_settings,
        completions=service.completions(lambda: own_settings.current),
        api_key=ApiKey(folder.api_key),
    )
