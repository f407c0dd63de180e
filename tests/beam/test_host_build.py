"""The VM's host is built once for each Erlang, appears whole or not at all, and a missing Erlang is said in words."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aion_beam.host_build import ErlangMissing, build_host


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that two have filled at the same time."""
    cache = tmp_path_factory.mktemp("hosts")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build_host, [cache, cache])
    assert first == second
    return cache


def test_builds_at_the_same_time_leave_one_host_and_nothing_else(cache: Path) -> None:
    assert [path.name for path in cache.iterdir()] == [build_host(cache).directory.name]


def test_a_host_is_built_once(cache: Path) -> None:
    host = build_host(cache)
    before = {path: path.stat().st_mtime_ns for path in host.directory.iterdir()}
    assert build_host(cache) == host
    assert {path: path.stat().st_mtime_ns for path in host.directory.iterdir()} == before


def test_a_host_holds_the_sdk_and_a_boot_script(cache: Path) -> None:
    host = build_host(cache)
    names = {path.name for path in host.directory.iterdir()}
    assert {"aion_host.boot", "aion_host.beam", "aion_flow.beam"} <= names
    assert host.launcher.exists()
    assert int(host.otp_release) >= 25


def test_a_host_of_an_erlang_that_is_gone_is_built_again(cache: Path) -> None:
    host = build_host(cache)
    facts = json.loads((host.directory / "otp.json").read_text())
    (host.directory / "otp.json").write_text(json.dumps({**facts, "erts_version": "1.0"}))
    assert build_host(cache) == host


def test_a_missing_erlang_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ErlangMissing, match=r"erl was not found .* Install Erlang/OTP 25 or newer"):
        build_host(tmp_path / "cache")


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("erl", "erlc"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'this is no Erlang' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ErlangMissing, match="this is no Erlang"):
        build_host(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
