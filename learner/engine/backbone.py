"""One copy of the base model in memory, and the adapters that speak through it.

The reference policy is the same model with its adapters disabled, so no second copy is needed.
Which adapter is active is global state of the module tree: a backbone belongs to one thread, and
whoever runs the model says first, through ``use``, which version speaks.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from learner.config import EngineConfig, Prompting
from learner.engine.activations import sparing
from learner.engine.adapter import (
    Adapter,
    adapt_linear_layers,
    adapter_of,
    fresh_adapter,
    write_adapter,
)
from learner.engine.device import pick_device, pick_dtype
from learner.engine.kv import common_length
from learner.engine.lora import LoraTensors, read_adapter
from learner.engine.trees import Row, Tree
from learner.engine.trees import register as register_trees
from learner.errors import AdapterLoadError
from learner.few_shot import STOP, few_shot_template
from learner.model_folder import ModelError
from learner.rendering import prompt_ids
from learner.update_config import LoraSpec
from storage.records import BASE_VERSION, Message, PolicyVersion, PolicyVersionId, Role

TRAINING_VERSION = PolicyVersionId(-1)
"""Stands for the adapter in training, which has no version yet; never stored."""

_CHECKED_TOKENS = 16
_AGREEMENT = 0.99
"""Cosine at every place: lower than rounding makes it, higher than what sees or counts wrongly
reaches everywhere (test_trees.py)."""

_LOGITS_APART = 4.0
"""Roundings by which two ways of computing the same logits may differ, of the largest."""

RESIDENT_ADAPTERS = 3
"""Adapter versions kept in memory: the live one and those that running replies still need."""


def _agree(one: Float[Tensor, "B T d"], other: Float[Tensor, "B T d"]) -> bool:
    """Whether two ways of computing the same hidden states came to the same, place by place."""
    if one.shape != other.shape:
        return False
    return bool((F.cosine_similarity(one.float(), other.float(), dim=-1) > _AGREEMENT).all())


class Backbone:
    """The base model, its tokenizer and its resident adapters."""

    def __init__(self, folder: Path, config: EngineConfig) -> None:
        """Load from a folder of safetensors; raises ModelError if it is not a chat model."""
        self.folder = folder
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                folder, dtype=self.dtype, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelError(f"The model in {folder} can't be loaded: {error}") from error
        self.context_tokens = self._context_tokens(model.config)
        self._own_template = self.tokenizer.chat_template
        if self._own_template is None and config.prompting is Prompting.TEMPLATE:
            raise ModelError(
                f"The model in {folder} has no chat template: choose a model made for chat, or "
                "--prompting few-shot."
            )
        self.few_shot = self._own_template is None or config.prompting is Prompting.FEW_SHOT
        """Whether the model goes on writing a dialogue, and ends a reply in words (few_shot.py)."""
        if self.few_shot:
            self.tokenizer.chat_template = few_shot_template(self.tokenizer)
        self.base = model.to(self.device).eval().requires_grad_(False)
        self.eos_ids = self._eos_ids()
        self.pad_id = self.eos_ids[0]
        self.end_ids = (
            self.reply_ids(STOP, follows=True) if self.few_shot else (self._end_of_turn(),)
        )
        """What stands after a reply that is over."""
        self.logit_scale = self._logit_scale()
        self._linears = adapt_linear_layers(self.base, self.lm_head)
        self._resident: dict[PolicyVersionId, Adapter] = {}  # in order of use, oldest first
        self._training: Adapter | None = None
        self._active = BASE_VERSION
        self._reference = BASE_VERSION

    def _context_tokens(self, config: PreTrainedConfig) -> int:
        """Raises ModelError for a model of pictures or sounds too: its other layers would be given
        adapters that nothing teaches."""
        if config.get_text_config() is not config:
            raise ModelError(
                f"The model in {self.folder} is for more than text: choose one for text alone."
            )
        positions: int | None = getattr(config, "max_position_embeddings", None)
        if positions is None:
            raise ModelError(
                f"The model in {self.folder} does not say how many tokens it can read: write "
                "max_position_embeddings into its config.json, or choose another model."
            )
        return positions

    def _eos_ids(self) -> tuple[int, ...]:
        configured = self.base.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured]
        found = dict.fromkeys([self.tokenizer.eos_token_id, *ids])  # ordered, without doubles
        return tuple(i for i in found if i is not None)

    def _end_of_turn(self) -> int:
        """The token that the chat template writes after a reply: not always the tokenizer's end of
        sequence (Gemma's ``<end_of_turn>``, Phi's ``<|end|>``)."""
        asked = Message(role=Role.USER, content="a")
        opened = prompt_ids(self.tokenizer, [asked])
        chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        said = self.tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
        shared = common_length(opened, said)
        return next((i for i in said[shared:] if i in self.eos_ids), self.eos_ids[0])

    def reply_ids(self, text: str, *, follows: bool = False) -> tuple[int, ...]:
        """Tokens of a reply as the model would write it; ``follows``: of what stands after one."""
        begun = f" {text}" if self.few_shot and not follows else text
        return tuple(self.tokenizer(begun, add_special_tokens=False)["input_ids"])

    @property
    def decoder(self) -> nn.Module:
        """The transformer without its language-model head; the active adapter acts in it."""
        return self.base.get_decoder()

    @property
    def lm_head(self) -> nn.Linear:
        return self.base.get_output_embeddings()

    def hidden_states(self, ids: Int[Tensor, "B T"], **inputs: object) -> Float[Tensor, "B T d"]:
        """What ``lm_head`` makes logits of, for ``ids``, under whatever version speaks.

        That is the decoder's output, times ``logit_scale`` where the model scales its logits, with
        a float32 residual stream where the model can carry one: sums over layers are then exact,
        and only products are as coarse as the model's type.
        """
        if self.carries_float32:
            inputs["inputs_embeds"] = self.base.get_input_embeddings()(ids).float()
        else:
            inputs["input_ids"] = ids
        with sparing(self.decoder, self.dtype, ids.numel()):
            hidden = self.decoder(**inputs, use_cache=False).last_hidden_state
        return hidden if self.logit_scale == 1.0 else hidden * self.logit_scale

    @torch.no_grad()
    def _logit_scale(self) -> float:
        """What the model multiplies its head's outputs by: 1 for most (Granite, Cohere: not).

        Found by trying. Raises ModelError for a model that does more to them, as a cap: what is
        learned would be of other probabilities than those that it speaks by.
        """
        ids = self._some_ids(_CHECKED_TOKENS)
        hidden = self.decoder(input_ids=ids, use_cache=False).last_hidden_state
        head = self.lm_head(hidden).float()
        logits = self.base(input_ids=ids, use_cache=False).logits.float()
        scale = float((head * logits).sum() / (head * head).sum())
        tolerance = _LOGITS_APART * torch.finfo(self.dtype).eps * float(logits.abs().max())
        if not bool(((logits - scale * head).abs() <= tolerance).all()):
            raise ModelError(
                f"The model in {self.folder} changes its logits in a way that twofold does not "
                "know (a cap, as in Gemma 2): choose another model."
            )
        return 1.0 if abs(scale - 1.0) <= _LOGITS_APART * torch.finfo(self.dtype).eps else scale

    @cached_property
    def carries_float32(self) -> bool:
        """Whether the model takes float32 embeddings over weights of its own type."""
        ids = self._some_ids(_CHECKED_TOKENS)
        with torch.no_grad(), self.bare():
            try:
                embeddings = self.base.get_input_embeddings()(ids).float()
                wide = self.decoder(inputs_embeds=embeddings, use_cache=False).last_hidden_state
            except (TypeError, ValueError, RuntimeError):
                return False
            plain = self.decoder(input_ids=ids, use_cache=False).last_hidden_state
        return _agree(wide, plain)

    @cached_property
    def runs_trees(self) -> bool:
        """Whether replies packed behind one prompt come out as they do one by one.

        Found by trying, not by name: other attention than the registry's, windows, recurrent layers
        and positions that can't be given all show as another result.
        """
        if not self.carries_float32:
            return False
        before = self.base.config._attn_implementation
        n = _CHECKED_TOKENS
        prompt, *replies = self._some_ids(3 * n)[0].view(3, n)
        tree = Tree(tuple(prompt.tolist()), tuple(tuple(r.tolist()) for r in replies))
        row = Row([tree], self.device)
        with torch.no_grad(), self.bare():
            plain = [self.hidden_states(torch.cat([prompt, r])[None])[:, n:] for r in replies]
            try:
                register_trees(self.base)
                packed = self.hidden_states(row.ids, **row.inputs())[:, n:]
            except (TypeError, ValueError, RuntimeError):
                packed = None
        if packed is not None and _agree(packed, torch.cat(plain, dim=1)):
            return True
        self.base.set_attn_implementation(before)
        return False

    def _some_ids(self, count: int) -> Int[Tensor, "1 T"]:
        vocabulary = self.base.config.vocab_size
        return (torch.arange(1, count + 1, device=self.device) * 7919 % vocabulary)[None]

    @property
    def resident(self) -> tuple[PolicyVersionId, ...]:
        """Versions whose adapters are in memory, the one used longest ago first."""
        return tuple(self._resident)

    # -- versions that speak -------------------------------------------------------------------

    def ensure_resident(self, version: PolicyVersion) -> None:
        """Load the adapter of ``version``; raises AdapterLoadError, leaving all else as it was."""
        if version.adapter_path is None:
            return
        adapter = self._resident.pop(version.id, None)
        if adapter is None:
            try:
                adapter = self._load(version.adapter_path, self.dtype)
            except (OSError, MemoryError, ValueError, KeyError, SafetensorError) as error:
                raise AdapterLoadError(
                    f"Version {version.id} can't be loaded from its folder: {error}",
                    version=version.id,
                ) from error
        self._resident[version.id] = adapter
        while len(self._resident) > RESIDENT_ADAPTERS:
            del self._resident[
                next(
                    v
                    for v in self._resident
                    if v not in (version.id, self._active, self._reference)
                )
            ]

    def use(self, version: PolicyVersionId) -> None:
        """Let ``version`` speak; it must be resident. Free if it already does."""
        if version == self._active:
            return
        self._point_at(self._adapter_of(version))
        self._active = version

    @contextmanager
    def reference(self) -> Generator[None]:
        """Within it the reference policy speaks: the base, or whom ``refer_to`` named."""
        with self.speaking(self._reference):
            yield

    @contextmanager
    def bare(self) -> Generator[None]:
        """Within it the base speaks, adapters disabled."""
        with self.speaking(BASE_VERSION):
            yield

    @property
    def reference_id(self) -> PolicyVersionId:
        return self._reference

    def refer_to(self, version: PolicyVersion) -> None:
        """Make ``version`` the reference policy; it stays resident. Raises AdapterLoadError."""
        self.ensure_resident(version)
        self._reference = version.id

    @contextmanager
    def speaking(self, version: PolicyVersionId) -> Generator[None]:
        """Within it ``version`` speaks, which must be resident; then whoever spoke before."""
        before = self._active
        self.use(version)
        try:
            yield
        finally:
            self.use(before)

    def _adapter_of(self, version: PolicyVersionId) -> Adapter | None:
        if version == BASE_VERSION:
            return None
        return self._trained() if version == TRAINING_VERSION else self._resident[version]

    def _point_at(self, adapter: Adapter | None) -> None:
        for path, layer in self._linears.items():
            layer.lora = adapter.layers[path] if adapter else None

    # -- an adapter in training ----------------------------------------------------------------

    def open_training(self, parent: PolicyVersion, lora: LoraSpec, seed: int) -> list[nn.Parameter]:
        """Make a trainable copy of ``parent``'s adapter speak; for the base, a fresh one.

        Returns its parameters in a fixed order. LoRA of all linear layers, arXiv 2106.09685.
        """
        self.close_training()
        if parent.adapter_path is None:
            adapter = fresh_adapter(self._linears, lora, seed, self.device)
        else:
            adapter = self._load(parent.adapter_path, torch.float32)
        self._training = adapter
        self.use(TRAINING_VERSION)
        return [parameter.requires_grad_(True) for parameter in adapter.parameters()]

    def open_full_training(self) -> dict[str, nn.Parameter]:
        """Let the base's own weights train, by the names they are saved under.

        What the process calls the base or the reference changes with them. Raises ModelError
        unless the model is in float32: steps this small are lost in rounding otherwise.
        """
        if self.dtype != torch.float32:
            raise ModelError("All weights can be trained in float32 only: add --dtype float32.")
        self.close_training()
        self.base.requires_grad_(True)
        # A weight that is used twice is named once.
        return {
            name.replace(".base_layer.", "."): parameter
            for name, parameter in self.base.named_parameters()
        }

    def save_model(self, folder: Path) -> None:
        """Write base and tokenizer as a model folder."""
        weights = {
            name.replace(".base_layer.", "."): tensor
            for name, tensor in self.base.state_dict().items()
        }
        self.base.save_pretrained(folder, state_dict=weights)
        spoken, self.tokenizer.chat_template = self.tokenizer.chat_template, self._own_template
        self.tokenizer.save_pretrained(folder)
        self.tokenizer.chat_template = spoken

    def training_is_finite(self) -> bool:
        """Whether every weight of the adapter in training is a finite number."""
        return all(p.isfinite().all() for p in self._trained().parameters())

    @torch.no_grad()
    def restore_training(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the adapter in training these weights, named as ``training_lora`` names them."""
        for name, parameter in self._trained().tensors().items():
            parameter.copy_(tensors[name])

    def training_lora(self) -> LoraTensors:
        """The weights of the adapter in training, under the names a saved one has."""
        adapter = self._trained()
        return LoraTensors(adapter.tensors(), adapter.spec.rank, float(adapter.spec.alpha))

    def save_training(self, folder: Path) -> None:
        """Write the adapter in training as a PEFT safetensors folder."""
        write_adapter(self._trained(), folder)

    def save_blank(self, folder: Path) -> None:
        """Write an adapter that changes nothing, for a decoder that wants one."""
        write_adapter(
            fresh_adapter(self._linears, LoraSpec(rank=1, alpha=1), 0, self.device), folder
        )

    @torch.no_grad()
    def pull_in(self, share: float) -> None:
        """Leave the adapter in training this share of its distance to the reference policy.

        Of the base's: B A times ``share``. Of another version's: both matrices part of the way,
        which is the same to first order in what changed since.
        """
        adapter = self._trained()
        if self._reference == BASE_VERSION:
            for parameter in adapter.parameters():
                parameter.mul_(share**0.5)
            return
        reference = self._resident[self._reference].parameters()
        for parameter, fixed in zip(adapter.parameters(), reference, strict=True):
            parameter.lerp_(fixed.to(parameter.dtype), 1.0 - share)

    def close_training(self) -> None:
        """Forget the adapter in training; the base speaks afterwards."""
        self.use(BASE_VERSION)
        self._training = None

    def _load(self, folder: Path, dtype: torch.dtype) -> Adapter:
        return adapter_of(read_adapter(folder), self._linears, self.device, dtype)

    def _trained(self) -> Adapter:
        if self._training is None:
            raise RuntimeError("no adapter is in training")
        return self._training
