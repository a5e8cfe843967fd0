"""A simulator behind a real HTTP server: what a gateway sends, it answers, and then delivers what it promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ..errors import SendError
from ..http.client import Client
from ..http.server import Route, Server
from ..simulator import AnySimulator
from ..wire import Request, Response
from .deliveries import make

log = structlog.get_logger(__name__)


class Provider:
    """Serves a simulator. `requests` are what it was asked, `statuses` what its deliveries were answered."""

    methods = frozenset({"GET", "POST", "PUT", "DELETE"})
    max_body_bytes = 16 << 20

    def __init__(
        self, simulator: AnySimulator, listen: str, reach: Callable[[Request], Request] = lambda request: request
    ) -> None:
        """`reach` turns a delivery into the request that gets it there, where its URL alone would not."""
        self.requests: list[Request] = []
        self.statuses: list[int] = []
        self._simulator = simulator
        self._reach = reach
        self._server = Server(listen, self._find)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def listen(self) -> str:
        return self._server.listen

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address is taken."""
        self._client = Client()
        await self._server.start()

    async def stop(self) -> None:
        """Stop; what was still to be delivered is not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop()
        await self._client.close()

    async def idle(self) -> None:
        """Return when nothing is to be delivered any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self._simulator.answer(request)
        log.info("provider.asked", request=repr(request), status=answer.response.status)
        if answer.later:
            task = asyncio.create_task(make(answer.later, self._deliver))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return answer.response

    async def _deliver(self, request: Request) -> Response:
        """The response; 502 where none came."""
        try:
            response = await self._client.exchange(self._reach(request))
        except SendError as error:
            log.warning("provider.not_delivered", why=str(error))
            return Response(status=502)
        self.statuses.append(response.status)
        log.info("provider.delivered", request=repr(request), status=response.status)
        return response

    def _find(self, path: str) -> tuple[Route, str] | None:
        return self, path
