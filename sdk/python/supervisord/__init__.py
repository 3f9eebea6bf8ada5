"""Workers for supervisord, and clients of it. Standard library only, Linux, Python 3.9 or newer.

- ``supervisord.worker``: turn functions, a plugin manager, or a worker entry point with queues into a worker.
- ``supervisord.client``: call plugins, blocking or with asyncio.
- ``supervisord.frames``: the frames that a worker and the daemon exchange.

Import ``supervisord.worker`` first in a worker: importing it moves the link to the daemon out of the reach of
everything that is imported after it. That is why this package imports none of its modules by itself.
"""

__version__ = "0.1.0"
