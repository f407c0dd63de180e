"""The deploy check: what it refuses, and what it warns of, by name."""

import subprocess
from pathlib import Path

import pytest

from aion_beam.check import check_modules
from aion_beam.host_build import Host
from aion_common.errors import BadPackage


async def test_a_package_without_surprises_has_no_warnings(host: Host, tmp_path: Path) -> None:
    beam = compiled(tmp_path, "plain", "-export([run/1]).\nrun(N) -> receive go -> lists:reverse([N]) after 0 -> N end.\n")
    report = await check_modules(host, [("plain", beam)])
    assert report.otp_release == host.otp_release
    assert not report.wakes_itself
    assert report.warnings == ()


async def test_warnings_name_the_function_and_the_call(host: Host, beams: dict[str, bytes]) -> None:
    report = await check_modules(host, [("lints", beams["lints"])])
    assert report.wakes_itself
    for begin in (
        "lints:clock/1 calls erlang:now/0: ",
        "lints:clock/1 calls erlang:system_time/1: ",
        "lints:dice/1 calls rand:uniform/1: ",
        "lints:spawns/1 calls erlang:spawn/1: ",
        "lints:outside/1 calls os:getenv/1: ",
        "lints:retries/1 waits with a time-out of its own: ",
    ):
        assert any(warning.startswith(begin) for warning in report.warnings), begin
    assert len(report.warnings) == 6


@pytest.mark.parametrize(
    "call",
    [
        "crypto:strong_rand_bytes(N)",
        "httpc:request(N)",
        "file:read_file(N)",
        "logger:info(N)",
        "application:get_env(N)",
        "inet:gethostbyname(N)",
        "gen_tcp:listen(N, [])",
        "ssl:connect(N, 443, [])",
        "rpc:call(N, m, f, [])",
        "'Elixir.Enum':sum(N)",
    ],
)
async def test_a_call_of_what_is_not_in_the_vm_is_told(host: Host, tmp_path: Path, call: str) -> None:
    beam = compiled(tmp_path, "reaches", f"-export([run/1]).\nrun(N) -> {{{call}}}.\n")
    module, _, _ = call.partition(":")
    (warning,) = (await check_modules(host, [("reaches", beam)])).warnings
    assert warning.startswith(f"reaches:run/1 calls {module}:")
    assert warning.endswith(f": the module {module} is not in the VM, the call will fail with undef")


async def test_what_the_package_or_otp_brings_is_in_the_vm(host: Host, tmp_path: Path) -> None:
    """Whichever of two modules comes first; one that a VM has at its start, and ones that it loads when they are called."""
    calls = "{a_last:run(N), z_first:run(N), lists:sort(N), digraph:new(), sofs:set(N), aion_flow:now()}"
    beams = [(name, compiled(tmp_path, name, f"-export([run/1]).\nrun(N) -> {calls}.\n")) for name in ("z_first", "a_last")]
    assert (await check_modules(host, beams)).warnings == ()


@pytest.mark.parametrize(
    "body", ["timer:send_after(10, go)", "erlang:send_after(10, self(), go)", "erlang:start_timer(10, self(), go)"]
)
async def test_timers_wake_a_run(host: Host, tmp_path: Path, body: str) -> None:
    beam = compiled(tmp_path, "timers", f"-export([run/1]).\nrun(_) -> {body}.\n")
    assert (await check_modules(host, [("timers", beam)])).wakes_itself


async def test_native_code_is_refused(host: Host, beams: dict[str, bytes]) -> None:
    with pytest.raises(BadPackage, match="module native loads native code"):
        await check_modules(host, [("flows", beams["flows"]), ("native", beams["native"])])


async def test_a_module_that_does_not_load_is_named_with_both_releases(host: Host, beams: dict[str, bytes]) -> None:
    beam = beams["flows"]
    # An opcode that no release knows, in place of the first one of the code.
    place = beam.index(b"Code") + 8 + 4 + int.from_bytes(beam[beam.index(b"Code") + 8 :][:4], "big")
    broken = beam[:place] + b"\xfe" + beam[place + 1 :]
    with pytest.raises(BadPackage) as refused:
        await check_modules(host, [("flows", broken)])
    text = str(refused.value)
    assert text.startswith("module flows does not load")
    assert f"compiled by Erlang/OTP {host.otp_release}, this cluster runs Erlang/OTP {host.otp_release}" in text


async def test_modules_of_the_vm_cannot_be_shipped(host: Host, beams: dict[str, bytes]) -> None:
    with pytest.raises(BadPackage, match="module aion_flow has the name of a module that belongs to the VM"):
        await check_modules(host, [("aion_flow", beams["flows"])])


def compiled(folder: Path, module: str, text: str) -> bytes:
    source = folder / f"{module}.erl"
    source.write_text(f"-module({module}).\n{text}")
    subprocess.run(["erlc", "+deterministic", "-o", str(folder), str(source)], check=True)
    return source.with_suffix(".beam").read_bytes()
