"""LoRA beside frozen linear layers: ``y = W x + (alpha / r) B A x`` (arXiv 2106.09685, eq. 3).

One module stands over every linear layer except the language-model head, and which adapter acts is
a pointer in it: nothing is merged, so changing versions is free and the base is the same model with
all pointers empty. GPT-2's ``Conv1D`` is such a layer, its matrix stored transposed. Folders are in
PEFT's format; its wrapper would do the same in twice as many operations and keep float32 copies of
all it multiplies.
"""

import json
import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from transformers.pytorch_utils import Conv1D

from learner.engine.lora import CONFIG_FILE, TRANSPOSED, WEIGHTS_FILE, LoraTensors
from learner.update_config import LoraSpec

_SAVED = "base_model.model.{path}.lora_{half}.weight"


class Lora(nn.Module):
    """The two matrices of one linear layer, named as PEFT names them."""

    def __init__(
        self, a: Float[Tensor, "r inputs"], b: Float[Tensor, "outputs r"], scale: float
    ) -> None:
        super().__init__()
        self.lora_A = nn.ParameterDict({"weight": nn.Parameter(a, requires_grad=False)})
        self.lora_B = nn.ParameterDict({"weight": nn.Parameter(b, requires_grad=False)})
        self.scale = scale

    @property
    def a(self) -> nn.Parameter:
        return self.lora_A["weight"]

    @property
    def b(self) -> nn.Parameter:
        return self.lora_B["weight"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in memory: the layers it changes, by their path in the model."""

    spec: LoraSpec
    layers: Mapping[str, Lora]
    transposed: bool = False
    """The model stores the matrices beside these transposed."""

    def parameters(self) -> list[nn.Parameter]:
        """In a fixed order: layer by layer, A before B."""
        return [p for lora in self.layers.values() for p in (lora.a, lora.b)]

    def tensors(self) -> dict[str, Tensor]:
        """Under the names that they have in a saved folder."""
        halves = {"A": "a", "B": "b"}
        return {
            _SAVED.format(path=path, half=half): getattr(lora, name)
            for path, lora in self.layers.items()
            for half, name in halves.items()
        }


class _LastCast:
    """The last input in the products' type: query, key and value are all given the same one.

    The input itself is known weakly: it carries the graph of everything before it.
    """

    def __init__(self) -> None:
        self._given: weakref.ref[Tensor] | None = None
        self._cast: Tensor | None = None

    def cast(self, x: Float[Tensor, "*B inputs"], dtype: torch.dtype) -> Float[Tensor, "T inputs"]:
        given = None if self._given is None else self._given()
        if given is not x or self._cast is None or self._cast.dtype != dtype:
            self._cast = x.detach().reshape(-1, x.shape[-1]).to(dtype)
            self._given = weakref.ref(x)
        return self._cast


class AdaptedLinear(nn.Module):
    """A frozen linear layer and the adapter that acts beside it, if any.

    Products take the type of the layer's weights, and the result that of ``x``: with a float32
    ``x`` the residual stream stays float32 over a bfloat16 model.
    """

    def __init__(self, base_layer: nn.Linear | Conv1D, casts: _LastCast) -> None:
        """``casts`` is shared by all layers of a model."""
        super().__init__()
        self.base_layer = base_layer
        self.lora: Lora | None = None
        self._casts = casts
        self.transposed = isinstance(base_layer, Conv1D)

    @property
    def weight(self) -> Float[Tensor, "outputs inputs"]:
        own = self.base_layer.weight
        return own.T if self.transposed else own

    def forward(self, x: Float[Tensor, "*B inputs"]) -> Float[Tensor, "*B outputs"]:
        weight, bias = self.weight, self.base_layer.bias
        if self.lora is None:
            return self.base_layer(x.to(weight.dtype)).to(x.dtype)
        rows = self._casts.cast(x, weight.dtype)
        return _LoraLinear.apply(x, rows, weight, bias, self.lora.a, self.lora.b, self.lora.scale)


class _LoraLinear(torch.autograd.Function):
    """The adapted product of x, given as ``rows`` too, and its gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Float[Tensor, "*B inputs"],
        rows: Float[Tensor, "T inputs"],
        weight: Float[Tensor, "outputs inputs"],
        bias: Float[Tensor, " outputs"] | None,
        a: Float[Tensor, "r inputs"],
        b: Float[Tensor, "outputs r"],
        scale: float,
    ) -> Float[Tensor, "*B outputs"]:
        ctx.dtype = a.dtype
        a = a.to(weight.dtype)
        scaled_b = (scale * b).to(weight.dtype)
        inner = rows @ a.T  # (T, r)
        y = nn.functional.linear(rows, weight, bias).addmm_(inner, scaled_b.T)
        ctx.save_for_backward(rows, weight, a, scaled_b, inner)
        ctx.scale = scale
        return y.to(x.dtype).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Float[Tensor, "*B outputs"]) -> tuple[Tensor | None, ...]:
        rows, weight, a, scaled_b, inner = ctx.saved_tensors
        dy = grad.reshape(-1, grad.shape[-1]).to(weight.dtype)
        d_inner = dy @ scaled_b
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(d_inner, a).to(grad.dtype).view(*grad.shape[:-1], -1)
        d_a = (d_inner.T @ rows).to(ctx.dtype) if ctx.needs_input_grad[4] else None
        d_b = ctx.scale * (dy.T @ inner).to(ctx.dtype) if ctx.needs_input_grad[5] else None
        return dx, None, None, None, d_a, d_b, None


def adapt_linear_layers(model: nn.Module, head: nn.Module) -> dict[str, AdaptedLinear]:
    """Put an ``AdaptedLinear`` over every linear layer but ``head``; returns them by path."""
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    ]
    casts = _LastCast()
    adapted = {path: AdaptedLinear(layer, casts) for path, layer in found}
    for path, layer in adapted.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, layer)
    return adapted


def fresh_adapter(
    layers: Mapping[str, AdaptedLinear], spec: LoraSpec, seed: int, device: torch.device
) -> Adapter:
    """A random, B zero: it changes nothing yet. The start of the LoRA paper and of PEFT."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Lora] = {}
    for path, layer in layers.items():
        outputs, inputs = layer.weight.shape
        bound = 1.0 / math.sqrt(inputs)
        a = torch.empty(spec.rank, inputs).uniform_(-bound, bound, generator=generator)
        made[path] = Lora(a.to(device), torch.zeros(outputs, spec.rank, device=device), spec.scale)
    return Adapter(spec, made, transposed=_transposed(layers))


def adapter_of(
    lora: LoraTensors,
    layers: Mapping[str, AdaptedLinear],
    device: torch.device,
    dtype: torch.dtype,
) -> Adapter:
    """A saved adapter over these layers. Raises ValueError where it was made for others."""
    transposed = _transposed(layers)
    extras = [one for one in lora.extras if not (transposed and one == TRANSPOSED)]
    if extras:
        raise ValueError(f"only plain LoRA can be used, not {', '.join(extras)}")
    spec = LoraSpec(rank=lora.rank, alpha=int(lora.alpha))
    rest = dict(lora.tensors)
    made: dict[str, Lora] = {}
    for path, layer in layers.items():
        outputs, inputs = layer.weight.shape
        a, b = (rest.pop(_SAVED.format(path=path, half=half), None) for half in "AB")
        if a is None or b is None or a.shape[1] != inputs or b.shape[0] != outputs:
            raise ValueError(f"it has no matrices that fit {path}")
        made[path] = Lora(a.to(device, dtype), b.to(device, dtype), spec.scale)
    if rest:
        raise ValueError(f"it changes {next(iter(rest))}, which this model does not have")
    return Adapter(spec, made, transposed=transposed)


def _transposed(layers: Mapping[str, AdaptedLinear]) -> bool:
    return any(layer.transposed for layer in layers.values())


def write_adapter(adapter: Adapter, folder: Path) -> None:
    """Write what PEFT, and whatever reads its folders, calls a LoRA adapter."""
    config: dict[str, object] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": adapter.spec.rank,
        "lora_alpha": adapter.spec.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({path.rpartition(".")[2] for path in adapter.layers}),
    }
    if adapter.transposed:
        config[TRANSPOSED] = True
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {name: t.detach().cpu().contiguous() for name, t in adapter.tensors().items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
