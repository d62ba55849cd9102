"""R1: two candidates of 128 tokens each, prompt of 256, LoRA r=16 on: what a person waits for.

Against Hugging Face ``generate`` with the adapter through PEFT, called twice and in one batch, and
against the limit of the machine, measured in the same run. R1b has llama.cpp.
"""

from typing import Any

from benchmarks.limit import reply_limit
from benchmarks.material import adapter, endless_model, prompts, ready
from benchmarks.row import Arm, Figure, Material, Row

DTYPES = {"auto": "blocks", "float32": "float32"}
"""What is asked of our engine, and what it then reads of the built-in model: its own blocks of 4
and 8 bits, exactly as they came, or plain float32."""


def work(material: Material) -> dict[str, Any]:
    return {
        "prompts": str(prompts(material)),
        "new_tokens": 4 if material.tiny else 128,
    }


def our_arms(material: Material) -> list[Arm]:
    common = work(material) | {
        "model": str(endless_model(material)),
        "lora": str(adapter(material)),
    }
    return [
        Arm(
            name=f"twofold {dtype}",
            make="benchmarks.arms.ours:Reply",
            options=common | {"engine": {"dtype": dtype}},
        )
        for dtype in (("float32",) if material.tiny else DTYPES)
    ]


def arms(material: Material) -> list[Arm]:
    common = work(material) | {
        "model": str(endless_model(material)),
        "lora": str(adapter(material)),
    }
    calls = (
        ("transformers bfloat16 twice", "bfloat16", False),
        ("transformers bfloat16 batch", "bfloat16", True),
    )
    if material.tiny:
        calls = (("transformers float32 twice", "float32", False),)
    theirs = [
        Arm(
            name=name,
            make="benchmarks.arms.hf:Generate",
            options=common | {"dtype": dtype, "batched": batched},
        )
        for name, dtype, batched in calls
    ]
    return [*our_arms(material), *theirs, *reply_limit(material)]


def faster(ours: str, peer: str, title: str, *targets: float) -> Figure:
    at_least, aim = targets or (None, None)
    return Figure(
        title=title, of=(peer, "wall_s"), over=(ours, "wall_s"), at_least=at_least, aim=aim
    )


def figures(material: Material) -> list[Figure]:
    if material.tiny:
        return [faster("twofold float32", "transformers float32 twice", "speed over transformers")]
    best, hf = "twofold auto", "transformers bfloat16 twice"
    return [
        faster(best, hf, "speed over transformers generate twice, adapter on in both", 4.0, 8.0),
        faster(best, "transformers bfloat16 batch", "speed over transformers in one batch"),
        *(
            Figure(
                title=f"wall over the limit of this machine, {precision}",
                of=(f"twofold {dtype}", "wall_s"),
                over=("roof", f"limit_{precision}_s"),
                at_least=2.0,
                aim=1.4,
                less_is_better=True,
            )
            for dtype, precision in DTYPES.items()
        ),
        Figure(title="limit of this machine, blocks", of=("roof", "limit_blocks_s"), unit="s"),
        *(
            Figure(title=f"{arm.name}: wall", of=(arm.name, "wall_s"), unit="s")
            for arm in arms(material)
            if arm.name != "roof"
        ),
        Figure(title=f"{best}: first token", of=(best, "ttft_s"), unit="s"),
        Figure(title=f"{best}: steps a second", of=(best, "steps_per_s_k2"), unit="/s"),
    ]


ROW = Row(
    id="r1",
    title="A reply: two candidates of 128 tokens, prompt of 256, adapter on",
    arms=arms,
    figures=figures,
    needs=ready,
)
