"""A plugin manager: an object with seven methods that loads, reloads and unloads models as the daemon tells it.

Its models are small: each knows which word may follow which words in one text, and makes up more of the kind. With
config {"corpus": PATH, "order": 2} for each, a pool may offer several at once.
"""

from supervisord import worker  # first: what is imported and printed after it cannot disturb the link to the daemon

import random
from typing import Any, Dict, Iterator, List, Tuple

Model = Dict[Tuple[str, ...], List[str]]


class Markov:
    """The seven methods. No base class is needed, and nothing here knows of the daemon."""

    def __init__(self) -> None:
        self.models: Dict[str, Model] = {}

    def discover_plugins(self) -> List[str]:
        """What could be loaded. The daemon's configuration says which of them are."""
        return ["parrot", "poet"]

    def load_plugin(self, plugin_data: Any, config: Dict[str, Any]) -> None:
        """Load one. What it raises is logged, and the plugin is left out."""
        with open(config["corpus"], encoding="utf-8") as corpus:
            self.models[plugin_data] = learn(corpus.read().split(), config.get("order", 2))

    def execute_plugin(self, name: str, **params: Any) -> str:
        """Run one and give its whole result; text, an object, or anything with attributes text and metadata."""
        return "".join(self.execute_plugin_stream(name, **params))

    def execute_plugin_stream(self, name: str, *, words: int = 50, seed: int = 0) -> Iterator[str]:
        """Run one and give its result in pieces."""
        model, chance = self.models[name], random.Random(seed)
        state = chance.choice(sorted(model))
        for _ in range(words):
            yield state[0] + " "
            following = model.get(state)
            state = (*state[1:], chance.choice(following)) if following else chance.choice(sorted(model))

    def reload_plugin(self, name: str, config: Dict[str, Any]) -> None:
        """Load one again, with another configuration."""
        self.load_plugin(name, config)

    def unload_plugin(self, name: str) -> None:
        """Free what one holds."""
        del self.models[name]

    def check_streaming_support(self, name: str) -> bool:
        """Whether execute_plugin_stream is of use for it."""
        return True


def learn(words: List[str], order: int) -> Model:
    model: Model = {}
    for begin in range(len(words) - order):
        model.setdefault(tuple(words[begin : begin + order]), []).append(words[begin + order])
    if not model:
        raise ValueError(f"the corpus has no more than {order} words")
    return model


if __name__ == "__main__":
    worker.run_worker(Markov)
