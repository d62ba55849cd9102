"""One copy of the base model in memory, and the adapters that speak through it.

The reference policy is the same model with its adapters disabled, so no second copy is needed.
Which adapter is active is global state of the module tree: a backbone belongs to one thread, and
whoever runs the model says first, through ``use``, which version speaks.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from learner.config import EngineConfig, LoraSpec
from learner.engine.lora import LoraTensors, read_adapter
from learner.errors import AdapterLoadError
from learner.model_folder import ModelError
from storage.records import BASE_VERSION, PolicyVersion, PolicyVersionId

TRAINING_VERSION = PolicyVersionId(-1)
"""Stands for the adapter in training, which has no version yet; never stored."""

_TRAINING = "in_training"  # "training" alone would hide torch's own Module.training

RESIDENT_ADAPTERS = 3
"""Adapter versions kept in memory: the live one and those that running replies still need."""


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` takes bfloat16 where the hardware multiplies it natively, else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        native = flags.startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    return torch.float32


class Backbone:
    """The base model, its tokenizer and its resident adapters."""

    def __init__(self, folder: Path, config: EngineConfig) -> None:
        """Load from a folder of safetensors; raises ModelError if it is not a chat model."""
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.dtype, self.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                folder, dtype=self.dtype, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The model in {folder} can't be loaded: {error}") from error
        if self.tokenizer.chat_template is None:
            raise ModelError(
                f"The model in {folder} has no chat template; choose a model made for chat."
            )
        self.base = model.to(self.device).eval().requires_grad_(False)
        self.eos_ids = self._eos_ids()
        self.pad_id = self.eos_ids[0]
        self.context_tokens: int = self.base.config.max_position_embeddings
        self._peft: PeftModel | None = None
        self._resident: dict[PolicyVersionId, str] = {}  # in order of use, oldest first
        self._active: PolicyVersionId | None = BASE_VERSION  # None: whatever PEFT left switched on

    def _eos_ids(self) -> tuple[int, ...]:
        configured = self.base.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured]
        found = dict.fromkeys([self.tokenizer.eos_token_id, *ids])  # ordered, without doubles
        return tuple(i for i in found if i is not None)

    @property
    def decoder(self) -> nn.Module:
        """The transformer without its language-model head; the active adapter acts in it."""
        return self.base.get_decoder()

    @property
    def lm_head(self) -> nn.Module:
        return self.base.get_output_embeddings()

    @property
    def resident(self) -> tuple[PolicyVersionId, ...]:
        """Versions whose adapters are in memory, the one used longest ago first."""
        return tuple(self._resident)

    # -- versions that speak -------------------------------------------------------------------

    def ensure_resident(self, version: PolicyVersion) -> None:
        """Load the adapter of ``version``; raises AdapterLoadError, leaving all else as it was."""
        if version.adapter_path is None:
            return
        if version.id in self._resident:
            self._resident[version.id] = self._resident.pop(version.id)
            return
        name = f"v{version.id:06d}"
        try:
            self._load(version.adapter_path, name, trainable=False)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise AdapterLoadError(
                f"Version {version.id} can't be loaded from its folder: {error}"
            ) from error
        self._resident[version.id] = name
        while len(self._resident) > RESIDENT_ADAPTERS:
            stale = next(v for v in self._resident if v not in (version.id, self._active))
            self._require_peft().delete_adapter(self._resident.pop(stale))

    def use(self, version: PolicyVersionId) -> None:
        """Let ``version`` speak; it must be resident. Free if it already does."""
        if version == self._active:
            return
        if version == BASE_VERSION:
            self._require_peft().base_model.disable_adapter_layers()
        elif version == TRAINING_VERSION:
            self._speak(_TRAINING)
        else:
            self._speak(self._resident[version])
        self._active = version

    @contextmanager
    def reference(self) -> Generator[None]:
        """Within it the base speaks, adapters disabled: the reference policy."""
        if self._peft is None or self._active == BASE_VERSION:
            yield
            return
        self._peft.base_model.disable_adapter_layers()
        try:
            yield
        finally:
            self._peft.base_model.enable_adapter_layers()

    # -- an adapter in training ----------------------------------------------------------------

    def open_training(self, parent: PolicyVersion, lora: LoraSpec, seed: int) -> list[nn.Parameter]:
        """Make a trainable copy of ``parent``'s adapter speak; for the base, a fresh one.

        Returns its parameters in a fixed order. LoRA of all linear layers, arXiv 2106.09685.
        """
        self.close_training()
        if parent.adapter_path is None:
            config = LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
            with torch.random.fork_rng():  # PEFT draws its start from the process-wide generator
                torch.manual_seed(seed)
                if self._peft is None:
                    self._peft = get_peft_model(self.base, config, adapter_name=_TRAINING)
                else:
                    self._peft.add_adapter(_TRAINING, config)
            self._active = None
        else:
            self._load(parent.adapter_path, _TRAINING, trainable=True)
        self.use(TRAINING_VERSION)
        named = self._require_peft().named_parameters()
        return [p.requires_grad_(True) for n, p in named if f".{_TRAINING}." in n]

    def training_is_finite(self) -> bool:
        """Whether every weight of the adapter in training is a finite number."""
        named = self._require_peft().named_parameters()
        return all(p.isfinite().all() for n, p in named if f".{_TRAINING}." in n)

    def training_lora(self) -> LoraTensors:
        """The weights of the adapter in training, under the names a saved one has."""
        peft = self._require_peft()
        config = peft.peft_config[_TRAINING]
        named = peft.named_parameters()
        tensors = {n.replace(f".{_TRAINING}.", "."): p for n, p in named if f".{_TRAINING}." in n}
        return LoraTensors(tensors, config.r, float(config.lora_alpha))

    def save_training(self, folder: Path) -> None:
        """Write the adapter in training as a PEFT safetensors folder."""
        peft = self._require_peft()
        peft.save_pretrained(folder, selected_adapters=[_TRAINING], save_embedding_layers=False)
        # PEFT puts adapters other than "default" into a folder of their own name.
        nested = folder / _TRAINING
        for file in nested.iterdir():
            file.rename(folder / file.name)
        nested.rmdir()
        (folder / "README.md").unlink(missing_ok=True)  # a card with nothing filled in

    def close_training(self) -> None:
        """Forget the adapter in training; the base speaks afterwards."""
        if self._peft is None:
            return
        if _TRAINING in self._peft.peft_config:
            self._peft.delete_adapter(_TRAINING)
            self._active = None  # PEFT moves on to another adapter by itself
        self.use(BASE_VERSION)

    # -- PEFT ----------------------------------------------------------------------------------

    def _load(self, path: Path, name: str, *, trainable: bool) -> None:
        read_adapter(path)  # before any module is touched: PEFT can't undo half an injection
        # In training the adapter stays in float32; to speak it takes the model's own type, which
        # saves a cast before and after each of its two hundred small products.
        options = {
            "adapter_name": name,
            "is_trainable": trainable,
            "autocast_adapter_dtype": trainable,
        }
        if self._peft is None:
            self._peft = PeftModel.from_pretrained(self.base, path, **options)
        else:
            self._peft.load_adapter(path, **options)
        # Loading may switch adapters on; what speaks is decided by use() alone.
        self._active = None

    def _speak(self, name: str) -> None:
        peft = self._require_peft()
        peft.base_model.enable_adapter_layers()
        peft.set_adapter(name)

    def _require_peft(self) -> PeftModel:
        if self._peft is None:
            raise RuntimeError("no adapter was loaded yet")
        return self._peft
