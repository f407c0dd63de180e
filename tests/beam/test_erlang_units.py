"""The pure Erlang modules have EUnit tests of their own; this runs them."""

from pathlib import Path

from aion_beam.host_build import Host
from beam.eunit import SOURCES, run_eunit


def test_eunit(host: Host, tmp_path: Path) -> None:
    modules = sorted(path.stem for path in SOURCES.glob("*_tests.erl"))
    run_eunit(host, [module for module in modules if module != "aion_golden_tests"], tmp_path)
