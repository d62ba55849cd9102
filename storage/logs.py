"""All that the app reads and writes, over one store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from storage.branches import BranchLog
from storage.conversation_rows import random_key
from storage.conversations import ConversationLog
from storage.database import Store
from storage.demonstrations import DemonstrationLog
from storage.dialogues import DialogueLog
from storage.duels import DuelReader
from storage.feedback import FeedbackLog
from storage.forgetting import Forgetting
from storage.labels import LabelLog
from storage.opinions import OpinionLog
from storage.policy_registry import PolicyRegistry
from storage.rankings import RankingLog
from storage.receipts import ReceiptReader
from storage.trends import TrendReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    conversations: ConversationLog
    branches: BranchLog
    feedback: FeedbackLog
    receipts: ReceiptReader
    opinions: OpinionLog
    labels: LabelLog
    demonstrations: DemonstrationLog
    dialogues: DialogueLog
    rankings: RankingLog
    policies: PolicyRegistry
    duels: DuelReader
    trends: TrendReader
    forgetting: Forgetting

    @classmethod
    def over(cls, store: Store, rounds: Path, *, new_key: Callable[[], str] = random_key) -> Self:
        """``rounds`` is the folder of the learner's rounds; ``new_key`` as in ConversationLog."""
        conversations = ConversationLog(store, new_key=new_key)
        policies = PolicyRegistry(store, rounds)
        return cls(
            conversations=conversations,
            branches=BranchLog(store),
            feedback=FeedbackLog(store),
            receipts=ReceiptReader(store),
            opinions=OpinionLog(store),
            labels=LabelLog(store),
            demonstrations=DemonstrationLog(store),
            dialogues=DialogueLog(store),
            rankings=RankingLog(store, new_key=new_key),
            policies=policies,
            duels=DuelReader(store),
            trends=TrendReader(store),
            forgetting=Forgetting(store, policies, conversations),
        )
