"""Frames: a 4-byte big-endian length, then that many bytes of one JSON object with a string member ``type``.

Both directions of a worker's link carry them. ``encode`` writes one, ``Decoder`` takes them out of a byte stream.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, Dict, List, Mapping, Optional

HEADER_BYTES = 4
MAX_BODY = 0xFFFFFFFF

_BRACE = ord("{")

_header = struct.Struct(">I")
# The reader decodes megabytes of trusted JSON: decode() of one decoder object saves the look-ups of json.loads.
_decode = json.JSONDecoder().decode


class FrameError(ValueError):
    """The bytes of a link are no frames. Where the next frame begins is unknown, so the link is lost."""


def _plain(value: object) -> object:
    """What the encoder does with values that JSON has no form for: to_dict(), and tolist() as numpy has it."""
    for method in ("to_dict", "tolist"):
        convert = getattr(value, method, None)
        if callable(convert):
            return convert()
    hint = "; send binary data as base64 text" if isinstance(value, (bytes, bytearray, memoryview)) else ""
    raise TypeError(f"{type(value).__name__} has no JSON form{hint}")


_options: Dict[str, Any] = dict(allow_nan=False, separators=(",", ":"), default=_plain)
_text_encode = json.JSONEncoder(ensure_ascii=False, **_options).encode
_ascii_encode = json.JSONEncoder(ensure_ascii=True, **_options).encode


def encode_value(value: object) -> bytes:
    """The compact UTF-8 JSON of any value.

    ValueError names the member that is NaN or infinite, which JSON cannot say; TypeError names the type that has no
    JSON form. A lone surrogate is escaped, since UTF-8 cannot hold it.
    """
    try:
        return _text_encode(value).encode()
    except UnicodeEncodeError:
        return _ascii_encode(value).encode()
    except ValueError as error:
        path = _find_non_finite(value, "")
        if path is None:
            raise
        raise ValueError(f"NaN and Infinity cannot be sent, JSON has no such numbers (found at {path or 'the top'})") from error


def _find_non_finite(value: object, path: str) -> Optional[str]:
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    found: Optional[str] = None
    if isinstance(value, Mapping):
        for key, member in value.items():
            if isinstance(key, float) and not math.isfinite(key):
                return f"{path}.{key}".lstrip(".")
            found = _find_non_finite(member, f"{path}.{key}".lstrip("."))
            if found is not None:
                return found
    elif isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            found = _find_non_finite(member, f"{path}[{index}]")
            if found is not None:
                return found
    return found


def frame(body: bytes) -> bytes:
    """A frame of a body that is encoded already. ValueError where it exceeds what 4 bytes of length can say."""
    if len(body) > MAX_BODY:
        raise ValueError(f"a message of {len(body)} bytes does not fit a frame")
    return _header.pack(len(body)) + body


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as a frame. Errors are those of encode_value."""
    return frame(encode_value(message))


class Decoder:
    """Takes messages out of a stream of bytes that arrives in any pieces. Used by one thread.

    Memory grows with the bytes that arrived and never with an announced length. A frame above ``max_body`` bytes is
    a FrameError as soon as its header is there.
    """

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.max_body = max_body
        self._parts: List[bytes] = []
        self._have = 0
        self._need = HEADER_BYTES

    def feed(self, data: bytes) -> List[Dict[str, Any]]:
        """The messages that are complete with these bytes, in order. FrameError where they are none."""
        return [_message(body) for body in self.bodies(data)]

    def bodies(self, data: bytes) -> List[bytes]:
        """The same as feed, without looking further into a frame than its first byte."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            # Pieces of a big frame are joined once, when it is complete: joining each time would be quadratic.
            return []
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        bodies = []
        position, end = 0, len(buffer)
        self._need = HEADER_BYTES
        while end - position >= HEADER_BYTES:
            (length,) = _header.unpack_from(buffer, position)
            if length > self.max_body:
                raise FrameError(f"a frame of {length} bytes exceeds the limit of {self.max_body}")
            start = position + HEADER_BYTES
            if length == 0 or (end > start and buffer[start] != _BRACE):
                raise FrameError("a frame that does not begin with { is of a kind not known here")
            if end - start < length:
                self._need = HEADER_BYTES + length
                break
            position = start + length
            bodies.append(buffer[start:position])
        self._parts = [buffer[position:]] if position < end else []
        self._have = end - position
        return bodies

    @property
    def incomplete(self) -> bool:
        """Whether the stream would be cut in the middle of a frame if it ended here."""
        return self._have > 0


def _message(body: bytes) -> Dict[str, Any]:
    try:
        message = _decode(body.decode())
    except ValueError as error:  # of JSON and of UTF-8
        raise FrameError(f"a frame holds no JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise FrameError("a frame holds no object with a member type")
    return message
