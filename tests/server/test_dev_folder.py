"""What `aion-server dev` checks before it starts, and what it writes for tests and tools."""

import json
import socket
from pathlib import Path

import pytest

from aion_common.errors import AionError
from aion_server.folder import LOCK, STACK, locked, remove_stack, write_stack
from aion_server.ports import is_free, wait_free
from server.scripted import ENDS_AT_ONCE, program


def test_folder_serves_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (
        locked(folder),
        pytest.raises(AionError, match=r"data is in use by another .* \(pid \d+\).*--data-dir"),
        locked(folder),
    ):
        pass
    with locked(folder):
        pass


@pytest.mark.parametrize("blocked", ["", LOCK, STACK])
def test_folder_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, blocked: str) -> None:
    folder = tmp_path / "data"
    if blocked:
        (folder / blocked / "in the way").mkdir(parents=True)
    else:
        folder.write_text("a file")
    with (
        pytest.raises(AionError, match=r"the data folder .*data cannot be used: .*; choose another --data-dir"),
        locked(folder),
    ):
        remove_stack(folder)


def test_folder_below_a_device_is_said_in_a_sentence() -> None:
    with (
        pytest.raises(AionError, match=r"the data folder /dev/null/x cannot be used: Not a directory"),
        locked(Path("/dev/null/x")),
    ):
        pass


def test_stack_file_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / STACK / "in the way").mkdir(parents=True)
    with pytest.raises(AionError, match="cannot be used"):
        write_stack(tmp_path, [])


async def test_port_in_use_is_named_together_with_its_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(AionError, match=rf"port {port} is in use.*--http-port"):
            await wait_free(port, "--http-port", patience_ms=1)
    assert is_free(port)
    await wait_free(port, "--http-port", patience_ms=1)


async def test_stack_file_names_pids_and_addresses(tmp_path: Path) -> None:
    part = program("brief", ENDS_AT_ONCE, tmp_path)
    await part.start()
    write_stack(tmp_path, [part])
    stack = json.loads((tmp_path / STACK).read_text())
    assert stack == {"brief": {"pid": part.pid, "address": "brief:1", "log": str(tmp_path / "brief.log")}}
    assert await part.ended() == 3
    write_stack(tmp_path, [part])
    assert json.loads((tmp_path / STACK).read_text())["brief"]["pid"] is None
    remove_stack(tmp_path)
    assert not (tmp_path / STACK).exists()
