"""The services as programs of a supervisor: which command line each is started with, and where its output goes.

Called by `stack`, and by tests and benchmarks that run more of a service than `aion-server dev` does.
"""

import sys
from collections.abc import Callable, Sequence

from aion_common.settings import Settings
from aion_server.broker import free_port
from aion_server.ports import is_free
from aion_server.supervisor import Launch, Program


def catalog_program(settings: Settings, name: str) -> Program:
    """A catalog; `name` is its id."""
    flags = ["--catalog-id", name, "--session-timeout-ms", str(settings.session_timeout_ms)]
    return _program(settings, name, lambda: Launch(command=_command(settings, "catalog", flags)))


def executor_program(settings: Settings, name: str) -> Program:
    """An executor; `name` is its id, and its data are in the folder of that name."""
    port = free_port()

    def launch() -> Launch:
        nonlocal port
        port = port if is_free(port) else free_port()
        flags = ["--executor-id", name, "--session-timeout-ms", str(settings.session_timeout_ms)]
        flags += ["--http-port", str(port), "--data-dir", str(settings.data_dir / name)]
        return Launch(command=_command(settings, "executor", flags), address=f"127.0.0.1:{port}")

    return _program(settings, name, launch)


def gateway_program(settings: Settings, name: str) -> Program:
    """A gateway on `settings.http_port`; `name` is its id."""
    flags = ["--gateway-id", name, "--http-host", settings.http_host, "--http-port", str(settings.http_port)]
    flags += ["--drain-ms", str(settings.drain_ms)]
    address = f"{settings.http_host}:{settings.http_port}"
    return _program(settings, name, lambda: Launch(command=_command(settings, "gateway", flags), address=address))


def _program(settings: Settings, name: str, launch: Callable[[], Launch]) -> Program:
    return Program(name=name, launch=launch, log=settings.data_dir / "logs" / f"{name}.log")


def _command(settings: Settings, service: str, flags: Sequence[str]) -> Sequence[str]:
    common = ["--bootstrap", settings.bootstrap, "--topic-prefix", settings.topic_prefix]
    return [sys.executable, "-m", "aion_server", service, *common, "--log-level", settings.log_level, *flags]
