"""R2: what more candidates cost: wall of K over wall of one, prompt of 256, 128 tokens each."""

from benchmarks.material import adapter, endless_model, gguf, gguf_adapter, prompts, ready
from benchmarks.row import Arm, Environment, Figure, Material, Row

KS = (1, 2, 4, 8)


def arms(material: Material) -> list[Arm]:
    common = {
        "model": str(endless_model(material)),
        "prompts": str(prompts(material)),
        "new_tokens": 4 if material.tiny else 128,
        "lora": str(adapter(material)),
        "ks": KS,
    }
    dtype = "float32" if material.tiny else "auto"
    found = [
        Arm(
            name="twofold",
            make="benchmarks.arms.ours:Reply",
            options=common | {"engine": {"dtype": dtype}},
        )
    ]
    if material.tiny:
        return found
    return [
        *found,
        Arm(
            name="transformers bfloat16",
            make="benchmarks.arms.hf:Generate",
            options=common | {"dtype": "bfloat16"},
        ),
        Arm(
            name="llama.cpp Q8_0",
            make="benchmarks.arms.llama:Sequences",
            options=common
            | {"model": str(gguf(material, "Q8_0")), "lora": str(gguf_adapter(material))},
            environment=Environment.PEERS,
        ),
    ]


def figures(material: Material) -> list[Figure]:
    targets = {2: (1.15, 1.05), 4: (1.4, 1.2), 8: (None, None)}
    return [
        Figure(
            title=f"{arm.name}: wall of {k} candidates over one",
            of=(arm.name, f"wall_k{k}_s"),
            over=(arm.name, "wall_k1_s"),
            at_least=targets[k][0] if arm.name == "twofold" else None,
            aim=targets[k][1] if arm.name == "twofold" else None,
            less_is_better=True,
        )
        for arm in arms(material)
        for k in KS[1:]
    ]


ROW = Row(
    id="r2",
    title="More candidates: wall of K over wall of one",
    arms=arms,
    figures=figures,
    needs=lambda material: ready(material, ("Q8_0",)),
)
