"""Ports of this machine that `aion-server dev` is going to listen on: are they free?"""

import asyncio
import socket

from aion_common.errors import AionError

POLL_S = 0.05


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def wait_free(port: int, flag: str, patience_ms: int) -> None:
    """Return once the port is free; raises `AionError` that names it and the flag to choose another one with."""
    try:
        async with asyncio.timeout(patience_ms / 1000):
            while not is_free(port):  # noqa: ASYNC110 - a port tells nobody when it becomes free
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise AionError(f"port {port} is in use; stop who listens there or choose another one with {flag}") from error
