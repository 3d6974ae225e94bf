"""The connections to the sites: aiohttp's, less what costs as much as all else they do."""

from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler


class Connection(ResponseHandler):
    """A connection to a site.

    aiohttp resumes reading after every read, which costs as much as the read. Before the first pause there is nothing
    to resume; after it there may be, also where reading goes on: the parser ends its pause with what it is fed next.
    """

    _paused_once = False

    def pause_reading(self) -> None:
        """Stop reading for a while."""
        self._paused_once = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading."""
        if self._paused_once:
            super().resume_reading(resume_parser)


class Connector(aiohttp.TCPConnector):
    """Opens them, as many as are asked for."""

    def __init__(self) -> None:
        super().__init__(limit=0)
        connection: type[ResponseHandler] = Connection
        self._factory = partial(connection, loop=self._loop)
