"""Five small plugins, each a function: plain results, a slow job that can be cancelled, and a stream."""

from supervisord import worker  # first: what is imported and printed after it cannot disturb the link to the daemon

import time
from typing import Any, Dict, Iterator


@worker.plugin
def word_count(text: str) -> Dict[str, int]:
    """Count words, lines and characters."""
    return {"words": len(text.split()), "lines": len(text.splitlines()), "characters": len(text)}


@worker.plugin
def reverse(text: str) -> Dict[str, str]:
    """Turn a text round."""
    return {"text": text[::-1]}


@worker.plugin
def uppercase(text: str) -> Dict[str, str]:
    """Write a text in capitals."""
    return {"text": text.upper()}


@worker.plugin
def slow(seconds: float = 3.0) -> Dict[str, Any]:
    """Take a while, tell how far it is, and stop at once when nobody wants it any more."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        raise worker.PluginError("seconds is no duration", category="user_input", fields_invalid={"seconds": "want 0 or more"})
    job = worker.current_job()
    steps = 10
    for step in range(steps):
        job.progress(step / steps, f"step {step + 1} of {steps}")
        job.sleep(seconds / steps)
    return {"slept": seconds}


@worker.plugin
def stream_words(text: str, delay: float = 0.05) -> Iterator[str]:
    """Give a text back word by word; a caller who asked for no stream gets it in one piece."""
    for word in text.split():
        print(f"saying {word}")  # a log line of the daemon, tied to this job
        yield word + " "
        time.sleep(delay)


if __name__ == "__main__":
    worker.serve()
