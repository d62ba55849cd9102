"""R1b: the reply of R1 against llama.cpp, built for this machine, and OpenVINO GenAI.

Its high-level call twice on the file as shipped, without an adapter; its C API with the same
adapter, one prefill and two sequences in one batch, at five formats of the same weights.
OpenVINO reads the same files.
"""

from benchmarks.material import gguf, gguf_adapter, ready
from benchmarks.row import Arm, Environment, Figure, Material, Row
from benchmarks.rows.r1_reply import faster, our_arms, work

FORMATS = ("F32", "BF16", "Q8_0", "Q4_1", "Q4_0")
SHIPPED = "llama.cpp Q4_1 twice, no adapter"


def arms(material: Material) -> list[Arm]:
    if material.tiny:
        return our_arms(material)
    common = work(material)
    return [
        *our_arms(material),
        Arm(
            name=SHIPPED,
            make="benchmarks.arms.llama:HighLevel",
            options=common | {"model": str(gguf(material, "Q4_1"))},
            environment=Environment.PEERS,
        ),
        *(
            Arm(
                name=f"llama.cpp {form} batch",
                make="benchmarks.arms.llama:Sequences",
                options=common
                | {"model": str(gguf(material, form)), "lora": str(gguf_adapter(material))},
                environment=Environment.PEERS,
            )
            for form in FORMATS
        ),
        *(
            Arm(
                name=f"OpenVINO {form} batch, no adapter",
                make="benchmarks.arms.openvino:Generate",
                options=common | {"model": str(gguf(material, form))},
                environment=Environment.PEERS,
            )
            for form in ("Q4_1", "Q8_0")
        ),
    ]


def figures(material: Material) -> list[Figure]:
    if material.tiny:
        return [Figure(title="wall", of=("twofold float32", "wall_s"), unit="s")]
    batch = "speed over llama.cpp in one batch, adapter on in both"
    best = "twofold auto"
    return [
        faster(
            best,
            SHIPPED,
            "speed over llama.cpp high level twice, shipped file, adapter on here only",
            0.8,
            1.5,
        ),
        faster(best, "llama.cpp Q4_1 batch", f"{batch}, the shipped Q4_1 in both", 0.8, 1.2),
        faster("twofold float32", "llama.cpp F32 batch", f"{batch}, float32 in both", 0.8, 1.2),
        *(
            faster(best, f"llama.cpp {form} batch", f"{batch}, Q4_1 here, {form} there")
            for form in ("Q4_0", "Q8_0", "BF16")
        ),
        *(
            faster(
                best,
                f"OpenVINO {form} batch, no adapter",
                f"speed over OpenVINO in one batch of the {form} file, adapter on here only",
            )
            for form in ("Q4_1", "Q8_0")
        ),
        *(
            Figure(title=f"{arm.name}: wall", of=(arm.name, "wall_s"), unit="s")
            for arm in arms(material)
        ),
    ]


ROW = Row(
    id="r1b",
    title="The reply of R1 against llama.cpp and OpenVINO",
    arms=arms,
    figures=figures,
    needs=lambda material: ready(material, FORMATS),
    warmups=2,
    rounds=5,
)
