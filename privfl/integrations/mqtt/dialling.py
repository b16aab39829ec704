"""Dials, which block: for names, for the other end, for TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable


async def in_daemon(work: Callable[[], object], too_late: Callable[[], object]) -> None:
    """Run something that blocks in a thread that nobody waits for at the end.

    Args:
        work: what blocks.
        too_late: called when it is done and nobody waits any more, to undo it.

    Raises:
        OSError: what it raises.
        ValueError: likewise.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.done():
            too_late()
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - raised again where somebody waits
            error = raised
        try:
            loop.call_soon_threadsafe(tell, error)
        except RuntimeError:  # the loop is over
            too_late()

    threading.Thread(target=run, name="privfl-mqtt-dial", daemon=True).start()
    await done


def said(error: BaseException) -> str:
    """Return in a few words what went wrong with a connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    return str(error) or type(error).__name__
