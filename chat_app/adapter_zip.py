"""A version as others can load it: the PEFT folder in a ZIP, with a model card.

The optimizer's moments stay here: they are as large again and mean nothing elsewhere. The path of
the base model on this machine stays here, too: the card and the configuration name it.
"""

import io
import json
import zipfile
from pathlib import Path

from huggingface_hub import ModelCardData

from storage.policies import PolicyReader
from storage.records import PolicyVersion, RoundReport

LEFT_OUT = frozenset({"optimizer.safetensors", "README.md"})
CONFIG = "adapter_config.json"


def adapter_zip(
    policies: PolicyReader, version: PolicyVersion, lesson: RoundReport, model_name: str
) -> bytes:
    """The ZIP's bytes. Raises AdapterError where the folder is not what the round wrote."""
    if version.adapter_path is None:
        raise ValueError("the base model has no adapter")
    policies.verify(version.id)
    name = f"twofold-v{version.id}"
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(version.adapter_path.rglob("*")):
            if path.is_file() and path.name not in LEFT_OUT:
                inside = f"{name}/{path.relative_to(version.adapter_path).as_posix()}"
                archive.writestr(inside, _content(path, model_name))
        archive.writestr(f"{name}/README.md", model_card(version, lesson, model_name))
    return sink.getvalue()


def model_card(version: PolicyVersion, lesson: RoundReport, model_name: str) -> str:
    """What the version is and how it was made, as the Hub's model cards say it."""
    about = ModelCardData(base_model=model_name, library_name="peft", tags=["dpo", "twofold"])
    return f"""---
{about.to_yaml()}
---

# twofold, version {version.id}

A LoRA adapter for {model_name}, made on a person's own machine by twofold from the replies that
this person picked. It follows one person's taste; it knows nothing that its base model does not.

{lesson_lines(version, lesson)}

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{model_name}")
model = PeftModel.from_pretrained(base, "twofold-v{version.id}")
```

The adapter may repeat what it was taught, so treat it as you would treat the chats themselves.
"""


def lesson_lines(version: PolicyVersion, lesson: RoundReport) -> str:
    """How a version was made and what was measured, for a model card."""
    figures = "\n".join(
        f"| {name} | {value:.4g} |" for name, value in sorted(lesson.metrics.items())
    )
    made = f"{version.created_at:%Y-%m-%d}, from version {version.parent}"
    return f"""- Made {made}, by {lesson.update_rule}
- {len(lesson.preference_ids)} choices in this lesson; those of its parents came before
- Why it went live: {lesson.reason}
- Seed {lesson.seed}

| figure of the lesson | value |
|---|---|
{figures}"""


def _content(path: Path, model_name: str) -> bytes:
    if path.name != CONFIG:
        return path.read_bytes()
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = model_name
    return json.dumps(config, indent=2, sort_keys=True).encode()
