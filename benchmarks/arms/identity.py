"""Greedy replies of our engine beside those of plain ``generate``, on prompts as people write."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import chat_app.examples
from benchmarks.arms.ours import engine_of, version_of
from learner.rendering import prompt_ids
from storage.records import Message, Role, Sampling

PROMPTS = Path(chat_app.examples.__file__).with_name("prompts.jsonl")


class Both:
    def __init__(self, model: str, prompts: int, new_tokens: int) -> None:
        self._engine = engine_of(model, {"dtype": "float32"})
        self._engine.load(version_of(None))
        self._peer = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        lines = PROMPTS.read_text(encoding="utf-8").splitlines()
        found = (json.loads(line).get("prompt") for line in lines)  # some are whole chats
        texts = list(dict.fromkeys(text for text in found if text))
        self._texts = texts[:prompts]
        if len(self._texts) < prompts:
            raise RuntimeError(f"{PROMPTS} has only {len(texts)} prompts")
        self._sampling = Sampling(temperature=0.0, max_new_tokens=new_tokens)

    @torch.inference_mode()
    def round(self, number: int) -> dict[str, float]:
        identical, difference = 0, 0.0
        for text in self._texts:
            prompt = [Message(role=Role.USER, content=text)]
            batch = self._engine.start(prompt, 1, self._sampling, number)
            while batch.running:
                batch.step()
            [ours] = batch.completions()
            theirs, logp = self._generate(prompt)
            identical += ours.token_ids == theirs
            for a, b, one, other in zip(ours.token_ids, theirs, ours.logprobs, logp, strict=False):
                if a != b:
                    break
                difference = max(difference, abs(one - other))
        return {
            "identical": float(identical),
            "prompts": float(len(self._texts)),
            "logprob_difference": difference,
        }

    def _generate(self, prompt: list[Message]) -> tuple[tuple[int, ...], list[float]]:
        ids = torch.tensor([prompt_ids(self._engine.backbone.tokenizer, prompt)])
        found = self._peer.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=self._sampling.max_new_tokens,
            return_dict_in_generate=True,
            output_logits=True,
        )
        tokens = found.sequences[0, ids.shape[1] :].tolist()
        logp = [
            float(logits[0].float().log_softmax(-1)[token])
            for logits, token in zip(found.logits, tokens, strict=True)
        ]
        if tokens[-1] in self._engine.backbone.eos_ids:
            tokens, logp = tokens[:-1], logp[:-1]
        return tuple(tokens), logp
