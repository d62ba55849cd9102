"""A person's browser as far as Gradio can tell: sends one message, reads the reply and its end.

python -m benchmarks.arms.page_reader ADDRESS      (messages as JSON lines on standard input)
"""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx


class Browser:
    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=f"{address}/gradio_api", timeout=300.0)
        config = httpx.get(f"{address}/config", timeout=60.0).json()
        self._session = uuid.uuid4().hex
        events = config["dependencies"]
        # The event behind the message box, the one that follows the reply it starts, and the one
        # that draws what came of it.
        parts = {one["id"]: one for one in config["components"]}
        self._say = next(
            one
            for one in events
            if any(name == "submit" for _, name in one["targets"])
            and parts[one["inputs"][0]]["type"] == "textbox"
        )
        self._watch = next(
            one
            for one in events
            if one.get("trigger_after") == self._say["id"] and one["types"]["generator"]
        )
        self._end = next(
            one
            for one in events
            if one.get("trigger_after") == self._watch["id"] and one["backend_fn"]
        )
        self._values = {id_: _at_first(one) for id_, one in parts.items()}
        self._key = next(
            id_ for id_, one in parts.items() if one["props"].get("elem_id") == "conversation-key"
        )

    def send(self, text: str) -> dict[str, float]:
        began = time.perf_counter()
        said = self._answer(self._say, {self._say["inputs"][0]: text, self._key: ""})
        key = said[self._say["outputs"].index(self._key)]
        key = key["value"] if isinstance(key, dict) else key
        first, count = 0.0, 0
        for message in self._stream(self._watch, {self._key: key}):
            count += 1
            if not first and message["msg"] == "process_generating":
                first = time.perf_counter() - began
        self._answer(self._end, {self._key: key})  # without a mark, so everything is drawn
        return {"wall_s": time.perf_counter() - began, "first_s": first, "events": count}

    def _body(self, event: dict[str, Any], values: dict[int, str]) -> dict[str, Any]:
        """Inputs other than ``values`` are as the page opened."""
        return {
            "data": [values.get(one, self._values[one]) for one in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": self._session,
            "event_data": None,
        }

    def _answer(self, event: dict[str, Any], values: dict[int, str]) -> list[Any]:
        """What an event without a queue puts into its outputs."""
        response = self._http.post("/run/predict", json=self._body(event, values))
        return response.raise_for_status().json()["data"]

    def _stream(self, event: dict[str, Any], values: dict[int, str]) -> Iterator[dict[str, Any]]:
        """What an event sends through the queue until it ends."""
        self._http.post("/queue/join", json=self._body(event, values)).raise_for_status()
        stream = self._http.stream("GET", "/queue/data", params={"session_hash": self._session})
        with stream as lines:
            for line in lines.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message["msg"] in ("process_generating", "process_completed"):
                    yield message
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(f"the page answered {message}")
                    return


def _at_first(part: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever a component holds
    """What a component holds before anybody touched it; an empty box holds empty text."""
    value = part["props"].get("value")
    return "" if value is None and part["type"] == "textbox" else value


def main() -> None:
    browser = Browser(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(browser.send(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
