"""A proxy of the real Docker Engine's socket, which a test can cut (the engine is shared)."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

_ENGINE = "/var/run/docker.sock"


class EngineSocket:
    """A context manager that forwards the socket `path` to the engine, and cuts it off on exit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked = ""
        self._heard = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._pass_on, self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink()

    async def asked_for(self, path: str) -> None:
        """Wait until a request that contains `path` has been forwarded."""
        async with self._heard:
            await self._heard.wait_for(lambda: path in self._asked)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        there, back = await asyncio.open_unix_connection(_ENGINE)
        try:
            await asyncio.gather(self._pump(reader, back, heard=True), self._pump(there, writer))
        except ConnectionError:
            pass  # the client left
        finally:
            back.close()
            writer.close()
            self._connections.discard(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, heard: bool = False
    ) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
            if heard:
                async with self._heard:
                    self._asked += data.decode("latin-1")
                    self._heard.notify_all()
        sink.close()
