"""Speech to text with CMU PocketSphinx: the model is loaded once and serves every recording from then on.

Needs Debian's python3-pocketsphinx and pocketsphinx-en-us, and Debian's own /usr/bin/python3, which sees them.
"""

from supervisord import worker  # first: what a C library prints cannot disturb the link to the daemon then

import collections
import os
import wave
from typing import Any, Deque, Dict, Generator, List

from pocketsphinx import Decoder  # type: ignore[import]

MODEL = "/usr/share/pocketsphinx/model/en-us"
RATE = 16000  # Hz, what the model was trained on
STEP = RATE // 10  # samples recognized at once
# A guess counts as settled when it stayed the same over so many steps. The recognizer takes back younger words often,
# older ones hardly ever.
SETTLED = 8


def load() -> Any:
    config = Decoder.default_config()
    config.set_string("-hmm", os.path.join(MODEL, "en-us"))
    config.set_string("-lm", os.path.join(MODEL, "en-us.lm.bin"))
    config.set_string("-dict", os.path.join(MODEL, "cmudict-en-us.dict"))
    config.set_string("-logfn", os.devnull)
    # Without the passes that come after the end of the recording, which would revise what is streamed already.
    config.set_boolean("-fwdflat", False)
    config.set_boolean("-bestpath", False)
    return Decoder(config)


@worker.plugin
def transcribe(path: str) -> Generator[str, None, Dict[str, Any]]:
    """Recognize English speech in a WAV file (16 kHz, mono, 16 bits).

    The stream is the text so far, word by word, as soon as it is settled. The result's text is the recognizer's last
    word: should it have changed its mind about something streamed, the two differ, and the result is right.
    """
    job = worker.current_job()
    guesses: Deque[List[str]] = collections.deque(maxlen=SETTLED)
    told = 0
    with open_recording(path) as recording:
        model.start_utt()
        try:
            while True:
                samples = recording.readframes(STEP)
                if not samples:
                    break
                job.check()
                model.process_raw(samples, False, False)
                guesses.append(words())
                if len(guesses) == SETTLED:
                    settled = common(guesses)
                    if settled > told:
                        yield spaced(guesses[-1][told:settled], told)
                        told = settled
        finally:
            model.end_utt()
    final = words()
    if len(final) > told:
        yield spaced(final[told:], told)
    return {"text": " ".join(final), "seconds": recording.getnframes() / RATE}


def words() -> List[str]:
    """What the model takes the utterance for at the moment."""
    guess = model.hyp()
    return [] if guess is None else str(guess.hypstr).split()


def common(guesses: Deque[List[str]]) -> int:
    """How many words at the beginning are the same in all guesses."""
    length = 0
    for at_one_place in zip(*guesses):
        if len(set(at_one_place)) > 1:
            break
        length += 1
    return length


def spaced(more: List[str], told: int) -> str:
    """Words as they follow those told already."""
    return (" " if told else "") + " ".join(more)


def open_recording(path: str) -> wave.Wave_read:
    """Open a file that the model can take; all others are the caller's mistake."""
    if not isinstance(path, str) or not os.path.isabs(path):
        raise refusal("give an absolute path: a relative one would be relative to the worker")
    try:
        recording = wave.open(path, "rb")
    except OSError as error:
        raise refusal(f"cannot open it: {error.strerror}") from None
    except (wave.Error, EOFError) as error:
        raise refusal(f"no WAV file of plain samples: {error}") from None
    found = (recording.getnchannels(), recording.getsampwidth() * 8, recording.getframerate())
    if found != (1, 16, RATE):
        recording.close()
        raise refusal("it has %d channels, %d bits, %d Hz; the model takes 1 channel, 16 bits, %d Hz" % (*found, RATE))
    return recording


def refusal(reason: str) -> worker.PluginError:
    return worker.PluginError(f"path: {reason}", category="user_input", fields_invalid={"path": reason})


if __name__ == "__main__":
    model = load()
    worker.serve()
