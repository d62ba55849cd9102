"""R4: a new version: milliseconds until it speaks, and tokens of the reply in flight it changed."""

from benchmarks.material import adapter, endless_model, gguf, gguf_adapter, prompts, ready
from benchmarks.row import Arm, Environment, Figure, Material, Row


def arms(material: Material) -> list[Arm]:
    tiny = material.tiny
    loras = [str(adapter(material, 1)), str(adapter(material, 2))]
    model = str(endless_model(material))
    texts = str(prompts(material))
    ours = Arm(
        name="twofold",
        make="benchmarks.arms.chat:Swap",
        options={
            "model": model,
            "prompts": texts,
            "loras": loras,
            "new_tokens": 8 if tiny else 16,
            "engine": {"dtype": "float32" if tiny else "auto"},
        },
    )
    peft = Arm(
        name="PEFT hotswap",
        make="benchmarks.arms.hf_chat:Hotswap",
        options={"model": model, "loras": loras, "dtype": "float32" if tiny else "bfloat16"},
    )
    if tiny:
        return [ours, peft]
    llama = Arm(
        name="llama.cpp C API",
        make="benchmarks.arms.llama_chat:AdapterSwap",
        options={
            "model": str(gguf(material, "Q8_0")),
            "prompts": texts,
            "loras": [str(gguf_adapter(material, 1)), str(gguf_adapter(material, 2))],
        },
        environment=Environment.PEERS,
    )
    return [ours, peft, llama]


def figures(material: Material) -> list[Figure]:
    def less(title: str, metric: str, unit: str, at_most: float, aim: float) -> Figure:
        return Figure(
            title=title,
            of=("twofold", metric),
            unit=unit,
            at_least=at_most,
            aim=aim,
            less_is_better=True,
        )

    return [
        less("swap: load, and what the first token takes longer", "swap_ms", "ms", 20.0, 5.0),
        Figure(
            title="tokens of the reply in flight that changed",
            of=("twofold", "changed_tokens"),
            unit="tokens",
        ),
        Figure(title="of it the load", of=("twofold", "load_ms"), unit="ms"),
        *(
            Figure(title=f"{arm.name}: new adapter set", of=(arm.name, "swap_ms"), unit="ms")
            for arm in arms(material)[1:]
        ),
    ]


def needs(material: Material) -> None:
    ready(material, ("Q8_0",))
    adapter(material, 2)


ROW = Row(
    id="r4", title="A new version in the middle of a chat", arms=arms, figures=figures,
    needs=needs, rounds=7,
)  # fmt: skip
