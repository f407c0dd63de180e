"""Activities of worker processes: they ask the test, over a connection of their own, when to end."""

import asyncio
import socket

from aion_worker import Context, activity

_POLL_S = 0.05


@activity
async def double(value: int) -> int:
    return 2 * value


@activity
async def greet(given: dict[str, str]) -> dict[str, str]:
    """As the worker in Node does."""
    return {"greeting": f"Hello, {given['name']}!"}


@activity
async def ask(port: int, name: str) -> str:
    """Ends with what it is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{name}\n".encode())
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


@activity
def ask_in_thread(port: int, name: str, context: Context) -> str:
    """As `ask`; tells its name as the details of a heartbeat."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{name}\n".encode())
        connection.settimeout(_POLL_S)
        while True:
            context.heartbeat(name)
            try:
                return connection.recv(100).decode().strip()
            except TimeoutError:
                continue
