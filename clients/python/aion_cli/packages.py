"""Commands about code: pack, deploy, versions, route, unload, drain."""

from pathlib import Path
from typing import Annotated

import typer

from aion_cli.inputs import full_version
from aion_cli.outcome import failed, misused
from aion_cli.output import Output, byte_size, moment, short
from aion_cli.packing import PackOptions, pack_paths, write_file
from aion_cli.session import Session
from aion_client import Deployed, Pins
from aion_common.limits import ARCHIVE_BYTES_MAX
from aion_common.package.archive import Archive, write_archive

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help=".erl files, .beam files, or folders with them.")]
Entry = Annotated[
    str | None,
    typer.Option(metavar="MODULE[:FUNCTION]", help="Where a run begins; function: run. Default: the one module with run/1."),
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="NAME=MODULE[:FUNCTION]", help="One more workflow type. May be repeated."),
]
InternalTypes = Annotated[
    list[str] | None,
    typer.Option("--internal-type", metavar="NAME=MODULE[:FUNCTION]", help="The same, for other workflows to start only."),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Runs are ended when they are open for longer, unless their start says otherwise: 30s, 5m, 7d."
    ),
]
InputSchema = Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="JSON Schema of the input; carried along.")]
OutputSchema = Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="JSON Schema of the result; carried along.")]
Key = Annotated[str | None, typer.Option("--idempotency-key", help="A repeat with the same key gets the first answer.")]


def pack(  # noqa: PLR0913 - one parameter for each option of the command line
    session: Session,
    paths: Paths,
    *,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: <entry module>.aion.")] = None,
    entry: Entry = None,
    types: Types = None,
    internal_types: InternalTypes = None,
    timeout: Timeout = None,
    input_schema: InputSchema = None,
    output_schema: OutputSchema = None,
) -> None:
    """Build an .aion archive of Erlang sources or compiled modules.

    The same input gives the same bytes, and the same modules are the same version wherever they are packed.

    Examples:

      aion pack order.erl

      aion pack src/ --entry order:main -o order.aion

      aion pack order.erl refund.beam --entry order --type refund=refund:run --timeout 7d
    """
    if output is not None and not output.parent.is_dir():
        raise misused(f"there is no folder {output.parent} to write {output.name} to")
    archive, warnings = pack_paths(paths, _options(entry, types, internal_types, timeout, (input_schema, output_schema)))
    content = write_archive(archive)
    target = output or Path(f"{archive.manifest.types()[0].module}.aion")
    write_file(target, content)
    _warn(session.output, warnings)
    document = {
        "path": str(target),
        "version": archive.version,
        "manifest_digest": archive.manifest_digest,
        "bytes": len(content),
        "workflow_types": [entry.workflow_type for entry in archive.manifest.types()],
        "modules": [name for name, _ in archive.modules],
    }
    session.output.answer(document, lambda out: _show_packed(out, archive, target, len(content)))


def deploy(  # noqa: PLR0913 - one parameter for each option of the command line
    session: Session,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="One .aion archive, or what `pack` takes.")],
    *,
    entry: Entry = None,
    types: Types = None,
    internal_types: InternalTypes = None,
    timeout: Timeout = None,
    input_schema: InputSchema = None,
    output_schema: OutputSchema = None,
    idempotency_key: Key = None,
) -> None:
    """Load a package into the running system: from now on new starts run on it; open runs stay on their version.

    Deploying what is loaded and routed already changes nothing.

    Examples:

      aion deploy order.aion

      aion deploy order.erl

      aion deploy src/ --entry order:main
    """
    options = _options(entry, types, internal_types, timeout, (input_schema, output_schema))
    content = _archive_bytes(session.output, paths, options)
    with session.connect() as client, session.output.uploading(len(content)) as on_sent:
        deployed = client.deploy(content, idempotency_key=idempotency_key, on_sent=on_sent)
    session.output.answer(deployed, lambda out: _show_deployed(out, deployed))


def versions(
    session: Session,
    workflow_type: Annotated[str | None, typer.Argument(metavar="TYPE", help="Only versions of this workflow type.")] = None,
    *,
    pins: Annotated[
        bool, typer.Option("--pins/--no-pins", help="Ask every owner what needs each version; without, none need be there.")
    ] = True,
) -> None:
    """List the loaded versions, which of them new starts run on, and how many open runs still need each.

    Where a version is asked for, its first digits as printed here will do.
    """
    with session.connect() as client:
        loaded = client.versions(workflow_type, pins=pins)

    def show(out: Output) -> None:
        if not loaded:
            out.say("No version is loaded. `aion deploy` loads one.")
            return
        rows = [
            (
                version["workflow_type"],
                short(version["version"]),
                "yes" if version["route_active"] else "",
                moment(version["deployed_at"]),
                _pins(version.get("pins")),
                short(version["manifest_digest"]),
            )
            for version in loaded
        ]
        out.table(("TYPE", "VERSION", "ROUTED", "DEPLOYED", "PINS", "MANIFEST"), rows)

    session.output.answer({"versions": loaded}, show)


def route(
    session: Session,
    workflow_type: Annotated[str, typer.Argument(metavar="TYPE")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="64 hex digits, or the first 8 or more.")],
    idempotency_key: Key = None,
) -> None:
    """Run new starts of a workflow type on a loaded version: back to an old one, or forward again.

    Example:

      aion route order 3f2a91bc
    """
    with session.connect() as client:
        routed = client.route(workflow_type, full_version(client, version), idempotency_key=idempotency_key)

    def show(out: Output) -> None:
        now = f"New starts of {routed['workflow_type']} run on {short(routed['version'])}"
        previous = routed["previous_version"]
        if not routed["route_changed"]:
            out.say(f"{now}, as they did already.")
        elif previous is None:
            out.say(f"{now}.")
        else:
            out.say(f"{now}; before, on {short(previous)}.")

    session.output.answer(routed, show)


def unload(
    session: Session,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="64 hex digits, or the first 8 or more.")],
    idempotency_key: Key = None,
) -> None:
    """Remove a version with all its workflow types, if provably nothing needs it.

    Refused while a type is routed to it, and while a run of it is open: the refusal names what pins it.

    Example:

      aion unload 3f2a91bc
    """
    with session.connect() as client:
        named = full_version(client, version)
        with session.output.waiting(f"asking every owner what needs {short(named)}"):
            unloaded = client.unload(named, idempotency_key=idempotency_key)
    session.output.answer(unloaded, lambda out: out.say(f"Version {short(named)} is unloaded."))


def drain(session: Session) -> None:
    """Let the gateway take no new work, before it is stopped.

    Deploys, routes, unloads, new task queues and starts are refused from now on, until the gateway is restarted; signals,
    queries, reads and waits go on. Clients repeat what was refused with another gateway, or with this one after its restart.
    """
    with session.connect() as client:
        draining = client.drain()
    session.output.answer(draining, lambda out: out.say(f"The gateway at {session.url} takes no new work."))


def _pins(pins: Pins | None) -> str:
    """What needs a version, for people."""
    if pins is None:
        return "-"
    words = {"live": pins["live_run"], "recoverable": pins["recoverable_run"], "children": pins["recorded_child"]}
    return ", ".join(f"{number} {word}" for word, number in words.items() if number) or "none"


def _options(
    entry: str | None,
    types: list[str] | None,
    internal_types: list[str] | None,
    timeout: str | None,
    schemas: tuple[str | None, str | None],
) -> PackOptions:
    return PackOptions(
        entry=entry,
        types=types or (),
        internal_types=internal_types or (),
        timeout=timeout,
        input_schema=schemas[0],
        output_schema=schemas[1],
    )


def _archive_bytes(output: Output, paths: list[Path], options: PackOptions) -> bytes:
    """The archive that was named, or a new one of the sources that were named."""
    if not any(path.suffix == ".aion" for path in paths):
        archive, warnings = pack_paths(paths, options)
        _warn(output, warnings)
        return write_archive(archive)
    if len(paths) > 1 or options.given():
        raise misused("an .aion archive is deployed as it is: alone, and without the options that make one")
    path = paths[0]
    if not path.is_file():
        raise misused(f"there is no file {path}", "`aion pack` makes one.")
    if path.stat().st_size > ARCHIVE_BYTES_MAX:
        raise failed("payload_too_large", f"{path} is larger than {ARCHIVE_BYTES_MAX} bytes, the limit")
    return path.read_bytes()


def _warn(output: Output, warnings: str) -> None:
    for line in warnings.splitlines():
        output.note(line)


def _show_packed(out: Output, archive: Archive, target: Path, size: int) -> None:
    out.fields(
        {
            "archive": f"{target} ({byte_size(size)})",
            "version": archive.version,
            "types": ", ".join(entry.workflow_type for entry in archive.manifest.types()),
            "modules": ", ".join(name for name, _ in archive.modules),
        }
    )


def _show_deployed(out: Output, deployed: Deployed) -> None:
    first = deployed["records"][0] if deployed["records"] else None
    if first is not None:
        out.fields(
            {
                "types": ", ".join(record["workflow_type"] for record in deployed["records"]),
                "version": first["version"],
                "deployed": moment(first["deployed_at"]),
            }
        )
    match deployed["freshly_loaded"], deployed["route_changed"]:
        case True, _:
            out.say("Loaded; new starts run on it.")
        case False, True:
            out.say("Was loaded before; new starts run on it again.")
        case _:
            out.say("Nothing changed: it is loaded, and new starts run on it already.")
    for warning in deployed["warnings"]:
        out.note(f"warning: {warning}")
