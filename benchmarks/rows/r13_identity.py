"""R13: the same greedy text from our engine and from transformers, float32, 50 prompts, 64 tokens.

Real prompts of real lengths, each alone; transformers' answers are made in the same run.
"""

from benchmarks.material import ready
from benchmarks.row import Arm, Figure, Material, Row


def arms(material: Material) -> list[Arm]:
    options = {
        "model": str(material.model),
        "prompts": 4 if material.tiny else 50,
        "new_tokens": 8 if material.tiny else 64,
    }
    return [Arm(name="both", make="benchmarks.arms.identity:Both", options=options, rounds=1)]


def figures(material: Material) -> list[Figure]:
    count = 4.0 if material.tiny else 50.0
    return [
        Figure(
            title="prompts with identical text",
            of=("both", "identical"),
            unit="prompts",
            at_least=count,
            aim=count,
        ),
        Figure(title="prompts compared", of=("both", "prompts"), unit="prompts"),
        Figure(
            title="largest difference of a token's log-probability before any difference",
            of=("both", "logprob_difference"),
            unit="nats",
        ),
    ]


ROW = Row(
    id="r13",
    title="Identical greedy text in float32",
    arms=arms,
    figures=figures,
    needs=ready,
    warmups=0,
    rounds=1,
)
