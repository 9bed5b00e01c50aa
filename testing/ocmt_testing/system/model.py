"""`scripted_model` in place of OpenAI, for synchronous tests."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ocmt_testing.agent_server.scripted_model import scripted_model


@contextmanager
def obeying_provider() -> Iterator[str]:
    """Serve a scripted model, and yield its address for `OPENAI_BASE_URL`."""
    ready, done = threading.Event(), threading.Event()
    address: list[str] = []

    async def serve() -> None:
        async with scripted_model("127.0.0.1") as (_, port):
            address.append(f"http://127.0.0.1:{port}/llm/v1")
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield address[0]
    finally:
        done.set()
        thread.join(10)
