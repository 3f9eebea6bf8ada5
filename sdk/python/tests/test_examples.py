"""The example workers, driven as the daemon drives them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import wave

from .support import DEBIANS_PYTHON, RECORDINGS, ROOT, WorkerTest, need_speech

EXAMPLES = ROOT / "examples"


class TextTest(WorkerTest):
    def setUp(self) -> None:
        self.worker = self.start(command=[sys.executable, str(EXAMPLES / "text" / "worker.py")])
        self.ready = self.worker.init()

    def test_plain_results(self) -> None:
        self.assertEqual(self.ready["loaded_plugins"], ["word_count", "reverse", "uppercase", "slow", "stream_words"])
        text = "the quick\nbrown fox"
        for plugin, data in (
            ("word_count", {"words": 4, "lines": 2, "characters": 19}),
            ("reverse", {"text": text[::-1]}),
            ("uppercase", {"text": text.upper()}),
        ):
            self.assertEqual(self.worker.call(plugin, text=text)[1]["data"], data)

    def test_the_slow_one_tells_how_far_it_is_and_can_be_cancelled(self) -> None:
        told, result = self.worker.call("slow", seconds=0)
        self.assertEqual([message["progress"] for message in told], [step / 10 for step in range(10)])
        self.assertEqual(result["data"], {"slept": 0})
        self.worker.execute("slow", seconds=3600)
        self.worker.receive()
        self.worker.send(type="cancel", job_id="j")
        self.assertEqual(self.worker.receive()["status"], "cancelled")
        for seconds in (-1, "1", True, None):
            self.assertEqual(self.worker.call("slow", seconds=seconds)[1]["error_info"]["category"], "user_input")

    def test_the_streaming_one_prints_and_streams(self) -> None:
        chunks, result = self.worker.call("stream_words", stream=True, text="a b  c", delay=0)
        self.assertEqual(([chunk["chunk"] for chunk in chunks], result["data"]), (["a ", "b ", "c ", ""], {"streamed": True}))
        self.assertEqual(self.worker.call("stream_words", text="a b", delay=0)[1]["data"]["text"], "a b ")
        self.assertIn("saying b\n", self.worker.output())


class MarkovTest(WorkerTest):
    def test_models_are_loaded_run_reloaded_and_unloaded(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        corpus = os.path.join(directory, "corpus")
        with open(corpus, "w") as file:
            file.write("a rose is a rose is a rose")
        worker = self.start(command=[sys.executable, str(EXAMPLES / "markov" / "worker.py")])
        ready = worker.init(poet={"corpus": corpus, "order": 1}, parrot={"corpus": "/nowhere"})
        self.assertEqual(ready["loaded_plugins"], ["poet"])
        self.assertIn("plugin parrot was not loaded: FileNotFoundError", worker.output())
        data = worker.call("poet", words=5, seed=1)[1]["data"]
        chunks, _ = worker.call("poet", stream=True, words=5, seed=1)
        self.assertEqual("".join(chunk["chunk"] for chunk in chunks), data["text"])
        self.assertEqual(len(data["text"].split()), 5)
        worker.send(type="reload", plugin_name="parrot", config={"corpus": corpus})
        self.assertEqual(worker.receive()["status"], "success")
        self.assertEqual(worker.call("parrot", words=3)[1]["status"], "success")
        worker.send(type="unload", plugin_name="parrot")
        self.assertEqual(worker.receive()["status"], "success")


class TranscribeTest(WorkerTest):
    def setUp(self) -> None:
        need_speech()
        self.worker = self.start(command=[DEBIANS_PYTHON, str(EXAMPLES / "transcribe" / "worker.py")])
        self.assertEqual(self.worker.init()["loaded_plugins"], ["transcribe"])

    def test_speech_becomes_text_while_it_is_recognized(self) -> None:
        recordings = sorted(RECORDINGS.glob("*.wav"), key=lambda path: path.stat().st_size)
        self.assertGreater(len(recordings), 3)
        for recording in recordings[:2]:
            chunks, result = self.worker.call("transcribe", stream=True, path=str(recording))
            streamed = [chunk["chunk"] for chunk in chunks[:-1]]
            self.assertGreater(len(streamed), 2)
            # Increments, which make the whole text when they are put one after the other: nothing is told twice.
            self.assertEqual("".join(streamed), result["data"]["text"])
            self.assertTrue(result["data"]["streamed"])
        self.assertEqual(self.worker.output(), "")

    def test_the_text_is_what_was_said(self) -> None:
        recording = RECORDINGS / "sense_and_sensibility_01_austen_64kb-0930.wav"
        data = self.worker.call("transcribe", path=str(recording))[1]["data"]
        said = "he might even have been made amiable himself".split()
        self.assertGreaterEqual(len(set(said) & set(data["text"].split())), len(said) - 2)
        self.assertAlmostEqual(data["seconds"], 3.3, places=1)

    def test_a_cancelled_job_leaves_the_model_fit_for_the_next(self) -> None:
        recording = str(max(RECORDINGS.glob("*.wav"), key=lambda path: path.stat().st_size))
        self.worker.execute("transcribe", stream=True, path=recording)
        self.worker.receive()
        self.worker.send(type="cancel", job_id="j")
        message = self.worker.receive()
        while message["type"] == "stream_chunk":
            message = self.worker.receive()
        self.assertEqual(message["status"], "cancelled")
        self.assertIn("leisure", self.worker.call("transcribe", path=recording)[1]["data"]["text"])

    def test_what_the_model_cannot_take_is_refused(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        text, stereo, empty = (os.path.join(directory, name) for name in ("text", "stereo", "empty"))
        with open(text, "w") as file:
            file.write("no recording")
        with open(empty, "w"):
            pass
        with wave.open(stereo, "wb") as recording:
            recording.setparams((2, 2, 44100, 0, "NONE", "not compressed"))
        for path, reason in (
            ("relative.wav", "path: give an absolute path"),
            (5, "path: give an absolute path"),
            ("/nowhere/a.wav", "path: cannot open it: No such file or directory"),
            (directory, "path: cannot open it: Is a directory"),
            (text, "path: no WAV file of plain samples"),
            (empty, "path: no WAV file of plain samples"),
            (stereo, "path: it has 2 channels, 16 bits, 44100 Hz; the model takes 1 channel, 16 bits, 16000 Hz"),
        ):
            with self.subTest(path):
                _, result = self.worker.call("transcribe", path=path)
                self.assertIn(reason, result["error"])
                self.assertEqual(result["error_info"]["category"], "user_input")
                self.assertEqual(result["error_info"]["fields_invalid"][0]["path"], "path")
