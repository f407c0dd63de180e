"""One stack for the tests that only use it, with a namespace each; tests that kill things get a stack of their own."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from acceptance.stack import Api, Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two executors, so that starts, markers and reads cross processes."""
    stack = Stack(Path(tmp_path_factory.mktemp("stack")), executors=2)
    await stack.start()
    yield stack
    await stack.check()
    assert await stack.stop() == 0


@pytest.fixture
def api(shared_stack: Stack) -> Api:
    """A fresh namespace of the shared stack."""
    return Api(shared_stack, f"n{uuid.uuid4().hex[:12]}")


@pytest_asyncio.fixture(loop_scope="session")
async def own_stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A stack to kill."""
    stack = Stack(tmp_path)
    await stack.start()
    yield stack
    await stack.check()
    assert await stack.stop() == 0
