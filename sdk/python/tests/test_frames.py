"""The frame codec, with the conformance vectors of the protocol."""

from __future__ import annotations

import json
import math
import unittest
from typing import Any, Dict, List, Tuple

from supervisord import frames

from .support import vectors


class Golden(unittest.TestCase):
    def test_golden_messages_are_reproduced_member_for_member(self) -> None:
        cases = list(vectors("messages-golden.txtar"))
        self.assertGreaterEqual(len(cases), 5)
        for case in cases:
            with self.subTest(case.name):
                (message,) = frames.Decoder().feed(frames.frame(case.data))
                self.assertEqual(message, json.loads(case.want)["accept"])
                self.assertEqual(frames.encode(message), frames.frame(case.data))

    def test_all_that_is_accepted_survives_both_ways(self) -> None:
        for archive in ("messages-daemon.txtar", "messages-worker.txtar", "messages-lenient.txtar"):
            for case in vectors(archive):
                if not case.data.startswith(b"{"):  # a payload that a frame does not carry
                    continue
                with self.subTest(archive + "/" + case.name):
                    (message,) = frames.Decoder().feed(frames.frame(case.data))
                    self.assertEqual(message, json.loads(case.data))
                    if "1e400" in case.data.decode():  # read as infinite, which cannot be written
                        continue
                    (again,) = frames.Decoder().feed(frames.encode(message))
                    self.assertEqual(again, message)


def events(data: bytes, pieces: int, limit: int) -> Tuple[List[str], str]:
    """The payloads, and how it ends: eof, torn or broken."""
    decoder = frames.Decoder(limit)
    payloads: List[str] = []
    try:
        for begin in range(0, len(data), pieces):
            payloads += [body.decode() for body in decoder.bodies(data[begin : begin + pieces])]
    except frames.FrameError:
        return payloads, "broken"
    return payloads, "torn" if decoder.incomplete else "eof"


class FrameVectors(unittest.TestCase):
    def test_a_stream_gives_its_frames_and_its_end_however_it_is_split(self) -> None:
        for case in vectors("frames.txtar"):
            want: Dict[str, Any] = json.loads(case.want)
            payloads = [event["frame"] for event in want["events"] if "frame" in event]
            end = want["events"][-1]["end"]
            # This reader is a worker's: what its daemon never sends is the end of the link, told apart no further.
            skips = case.name.startswith("too-long")
            ends = (end,) if end in ("eof", "torn") and not skips else ("broken", "torn")
            with self.subTest(case.name):
                got, how = events(case.data, 1, want["max_frame"])
                self.assertIn(how, ends)
                if skips:
                    payloads = payloads[: len(got)]
                self.assertEqual(got, payloads)
                if how != "broken":
                    for pieces in (2, 3, 7, len(case.data) or 1):
                        self.assertEqual(events(case.data, pieces, want["max_frame"]), (payloads, how))


class Encoding(unittest.TestCase):
    def test_nan_is_refused_and_named(self) -> None:
        for value, path in (
            ({"a": [{"b": math.nan}]}, "a[0].b"),
            ({"data": {"loss": math.inf}}, "data.loss"),
            ({"data": {"x": (1.0, -math.inf)}}, "data.x[1]"),
            ({math.nan: 1}, "nan"),
        ):
            with self.subTest(path), self.assertRaisesRegex(ValueError, "NaN") as caught:
                frames.encode_value(value)
            self.assertIn(f"found at {path}", str(caught.exception))

    def test_what_has_no_json_form_is_refused_by_name(self) -> None:
        with self.assertRaisesRegex(TypeError, "bytes has no JSON form; send binary data as base64 text"):
            frames.encode_value({"a": b"x"})
        with self.assertRaisesRegex(TypeError, "object has no JSON form"):
            frames.encode_value({"a": object()})

    def test_objects_tell_their_own_form(self) -> None:
        class Message:
            def to_dict(self) -> Dict[str, int]:
                return {"n": 1}

        class Array:
            def tolist(self) -> List[int]:
                return [1, 2]

        self.assertEqual(frames.encode_value({"m": Message(), "a": Array()}), b'{"m":{"n":1},"a":[1,2]}')

    def test_a_lone_surrogate_is_escaped(self) -> None:
        self.assertEqual(frames.encode_value({"text": "é\ud800"}), b'{"text":"\\u00e9\\ud800"}')

    def test_text_goes_as_utf8(self) -> None:
        self.assertEqual(frames.encode({"type": "é"}), b"\x00\x00\x00\x0d" + '{"type":"é"}'.encode())


class Decoding(unittest.TestCase):
    def test_messages_without_a_type_are_no_messages(self) -> None:
        for body in (b"{}", b'{"type":1}', b'{"a"', b'{"type":"\xff"}'):
            with self.subTest(body), self.assertRaises(frames.FrameError):
                frames.Decoder().feed(frames.frame(body))

    def test_memory_does_not_follow_an_announced_length(self) -> None:
        decoder = frames.Decoder()
        self.assertEqual(decoder.feed(b"\xff\xff\xff\xf0{"), [])
        self.assertTrue(decoder.incomplete)

    def test_a_large_frame_in_small_pieces(self) -> None:
        data = frames.encode({"type": "x", "text": "a" * (1 << 20)})
        decoder = frames.Decoder()
        found = [message for begin in range(0, len(data), 4096) for message in decoder.feed(data[begin : begin + 4096])]
        self.assertEqual(len(found), 1)
        self.assertEqual(len(found[0]["text"]), 1 << 20)
