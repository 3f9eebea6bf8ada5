"""A handler that sends records of Python's logging to the daemon's log, tied to the running job."""

from __future__ import annotations

import logging
from typing import Any, Dict

from . import _engine, _link, frames

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info"))


class LogHandler(logging.Handler):
    """Install with ``logging.getLogger().addHandler(LogHandler())``.

    The level and the job travel with each record, which a line on stderr cannot do. ``extra={"fields": {...}}`` adds
    fields. Outside a worker, and in a forked child, records go to stderr as if no handler were there.
    """

    def emit(self, record: logging.LogRecord) -> None:
        link = _link.taken()
        if link is None:
            if logging.lastResort is not None:
                logging.lastResort.handle(record)
            return
        try:
            level = next((name for least, name in _LEVELS if record.levelno >= least), "debug")
            fields: Dict[str, Any] = {"logger": record.name}
            extra = getattr(record, "fields", None)
            if isinstance(extra, dict):
                fields.update(extra)
            told: Dict[str, Any] = {"type": "log", "level": level, "message": self.format(record), "fields": fields}
            engine = _engine.running()
            if engine is not None and engine.job is not None:
                told["job_id"] = engine.job.id
            link.writer.post(frames.encode_value(told))
        except Exception:
            self.handleError(record)
