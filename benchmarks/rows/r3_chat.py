"""R3: a chat of eight turns, forty tokens in and ninety-six out: first token of turn 8 over turn 1.

With a new adapter version ahead of every turn and without one. Ours prepares a version while the
person reads, so it is loaded and the chat encoded under it before the next message comes; the arm
"unprepared" has all of that inside the time, for a message sent in the same moment.
"""

from benchmarks.material import adapter, endless_model, gguf, gguf_adapter, ready
from benchmarks.row import Arm, Environment, Figure, Material, Row

TURNS = 8
SWAPPED = "twofold, a new version each turn"


def arms(material: Material) -> list[Arm]:
    tiny = material.tiny
    loras = [str(adapter(material, 1)), str(adapter(material, 2))]
    common = {
        "model": str(endless_model(material)),
        "loras": loras,
        "new_tokens": 2 if tiny else 96,
        "turns": 2 if tiny else TURNS,
    }
    engine = {"dtype": "float32" if tiny else "auto"}
    ours = [
        Arm(
            name=name,
            make="benchmarks.arms.chat:EightTurns",
            options=common | {"swap": swap, "prepared": prepared, "engine": engine},
        )
        for name, swap, prepared in (
            ("twofold", False, False),
            (SWAPPED, True, True),
            ("twofold, a new version each turn, unprepared", True, False),
        )
    ]
    dtype = "float32" if tiny else "bfloat16"
    theirs = [
        Arm(
            name=name,
            make="benchmarks.arms.hf_chat:EightTurns",
            options=common | {"cached": cached, "dtype": dtype},
        )
        for name, cached in (("transformers", False), ("transformers, cache kept", True))
    ]
    if tiny:
        return [*ours, *theirs]
    llama = Arm(
        name="llama.cpp Q8_0, its prefix match",
        make="benchmarks.arms.llama_chat:EightTurns",
        options={
            "model": str(gguf(material, "Q8_0")),
            "lora": str(gguf_adapter(material)),
            "new_tokens": 96,
        },
        environment=Environment.PEERS,
    )
    return [*ours, *theirs, llama]


def figures(material: Material) -> list[Figure]:
    last = 2 if material.tiny else TURNS
    found = [
        Figure(
            title=f"{arm.name}: first token of turn {last} over turn 1",
            of=(arm.name, f"ttft_turn{last}_s"),
            over=(arm.name, "ttft_turn1_s"),
            less_is_better=True,
            at_least=2.0 if arm.name == SWAPPED else None,
            aim=1.2 if arm.name == SWAPPED else None,
        )
        for arm in arms(material)
    ]
    prepare = Figure(
        title=f"{SWAPPED}: preparing it ahead of turn {last}",
        of=(SWAPPED, f"prepare_turn{last}_s"),
        unit="s",
    )
    return [*found, prepare] + [
        Figure(
            title=f"{arm.name}: first token of turn {turn}",
            of=(arm.name, f"ttft_turn{turn}_s"),
            unit="s",
        )
        for arm in arms(material)
        for turn in (1, last)
    ]


def needs(material: Material) -> None:
    ready(material, ("Q8_0",))
    adapter(material, 2)


ROW = Row(
    id="r3",
    title="A chat of eight turns",
    arms=arms,
    figures=figures,
    needs=needs,
    warmups=0,
)
