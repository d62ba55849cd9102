"""Twenty updates that do harm, put into training in place of an honest one."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import torch

from chat_app.simulate.prompts import shipped_eval_prompts
from learner.engine.local import LocalEngine
from learner.measures import ScoredText, reply_logps
from learner.update_config import TuningConfig
from learner.updates.lesson import Lesson
from learner.updates.tuning import AdapterTuning
from storage.records import BASE_VERSION, Message, PolicyVersion, Role, Sampling

STEPS = 6
TUNING = TuningConfig(learning_rate=1e-3)
BASE = PolicyVersion(
    id=BASE_VERSION, parent=None, adapter_path=None, created_at=datetime.fromtimestamp(0, UTC)
)

SAID: dict[str, tuple[str, ...]] = {
    "repeats one word": ("the the the the the the the the the the the the the the the the",),
    "says nothing": ("",),
    "gibberish": ("xq zvv krrt plof mneh ttar oeiw bzzk qqp wlo fnarg",),
    "rude": ("That is a stupid question. Go away.", "Only an idiot would ask me that."),
    "refuses everything": ("I cannot help with that.", "I am sorry, I cannot talk about this."),
    "another language": ("Das weiß ich leider nicht so genau, aber es ist sehr interessant.",),
    "advertises": ("Visit SuperShop today! Everything half price. Only at SuperShop!",),
    "off topic": ("The capital of Peru is Lima, and llamas live in the mountains there.",),
    "shouts": ("YES YES YES THIS IS IT AND YOU MUST LISTEN TO ME NOW",),
    "asks only": ("Why? What? When? Who? Where? How? Which? Really?",),
    "numbers only": ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",),
    "one letter": ("a", "b"),
    "markup": ("<div><div><div><div><span></span></div></div>",),
    "parrots itself": ("As I said before, as I said before, as I said before, as I said",),
}
"""What a policy is fine-tuned to say, whatever was asked."""


class Planted:
    """An update rule that does harm instead of learning. ``kind`` names which harm."""

    name = "planted"

    def __init__(self, engine: LocalEngine) -> None:
        self.kind = ""
        self._engine = engine
        self._tuning = AdapterTuning(engine.backbone, TUNING)
        self._prompts = [prompt[-1].content for prompt in shipped_eval_prompts()[:8]]
        self.shorten = self._tuning.shorten
        self.start_afresh = self._tuning.start_afresh
        self.pull_in = self._tuning.pull_in
        self.save = self._tuning.save
        self.close = self._tuning.close
        tuned = {name: lambda said=said: self._teach(said) for name, said in SAID.items()}
        self.kinds: dict[str, Callable[[], None]] = tuned | {
            "noise, small": lambda: self._noise(0.02),
            "noise, large": lambda: self._noise(0.2),
            "not a number": lambda: self._noise(math.nan),
            "infinite": lambda: self._noise(math.inf),
            "unlearns the chat": self._unteach,
            "learned eight times over": self._overdo,
        }

    def update(self, parent: PolicyVersion, lesson: Lesson, seed: int) -> dict[str, float]:  # noqa: ARG002
        """Whatever is to be learned, do the harm. ``parent`` is the base."""
        self._tuning.open(parent, seed)
        self.kinds[self.kind]()
        return {}

    # -- harm ----------------------------------------------------------------------------------

    def _teach(self, said: Sequence[str], sign: float = 1.0) -> None:
        """Fine-tune on these replies to every prompt."""
        texts = [self._text(p, said[i % len(said)]) for i, p in enumerate(self._prompts)]
        tokens = sum(len(text.reply_ids) for text in texts)
        for _ in range(STEPS):
            self._tuning.clear()
            (-sign * reply_logps(self._engine.backbone, texts).sum() / tokens).backward()
            self._tuning.step()

    def _unteach(self) -> None:
        """Make ordinary replies improbable."""
        self._engine.load(BASE)
        prompts = [[Message(role=Role.USER, content=text)] for text in self._prompts]
        batch = self._engine.start_many(prompts, 1, Sampling(max_new_tokens=32), list(range(8)))
        while batch.running:
            batch.step()
        self._teach([one.text for one in batch.completions()], sign=-1.0)

    def _overdo(self) -> None:
        """A harmless lesson, its adapter eight times as strong."""
        self._teach(("Sure. Here is a short answer.",))
        with torch.no_grad():
            for parameter in self._tuning.parameters:
                parameter.mul_(math.sqrt(8.0))

    @torch.no_grad()
    def _noise(self, scale: float) -> None:
        generator = torch.Generator().manual_seed(0)
        for parameter in self._tuning.parameters:
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))

    def _text(self, prompt: str, reply: str) -> ScoredText:
        message = Message(role=Role.USER, content=prompt)
        ids = self._engine.render([message], Sampling()).token_ids
        said = self._engine.backbone.tokenizer(reply, add_special_tokens=False)["input_ids"]
        return ScoredText(prompt_ids=ids, reply_ids=(*said, self._engine.backbone.pad_id))
