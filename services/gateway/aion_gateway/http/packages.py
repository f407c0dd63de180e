"""Deploying packages, listing versions, routing types, unloading versions: calls to the catalog."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request

from aion_common import limits
from aion_common.ids import Namespace, Version, WorkflowType
from aion_common.records.catalog import LoadPackage, RouteType, UnloadVersion
from aion_common.records.replies import PackageAccepted, Rejection, RejectionCode, RouteAccepted, UnloadAccepted
from aion_gateway.everywhere import PinCounts, count_pins
from aion_gateway.http.bodies import content_type_of, json_body, pieces
from aion_gateway.http.fields import PathName, PathVersion, command_id_of, gateway_of
from aion_gateway.http.models import (
    LoadedPackage,
    LoadedTypeAnswer,
    NamespaceQuery,
    RoutedType,
    RouteTo,
    UnloadedVersion,
    VersionAnswer,
    VersionsAnswer,
    VersionsQuery,
)
from aion_gateway.http.openapi import BINARY, described_bytes, described_json, described_key, problems
from aion_gateway.http.problems import invalid, key_reused, refused, refused_by
from aion_gateway.uploads import upload

router = APIRouter(tags=["packages"])

ARCHIVE_TYPES = ("application/octet-stream", "application/zip")


@router.post(
    "/v1/packages",
    response_model=LoadedPackage,
    responses=problems(
        RejectionCode.INVALID_PACKAGE,
        RejectionCode.MANIFEST_MISMATCH,
        RejectionCode.PAYLOAD_TOO_LARGE,
        RejectionCode.SHUTTING_DOWN,
    ),
    openapi_extra=described_bytes(dict.fromkeys(ARCHIVE_TYPES, BINARY), required=True),
)
async def deploy_package(request: Request, query: Annotated[NamespaceQuery, Query()]) -> LoadedPackage:
    """Load the `.aion` archive in the body and route its workflow types to it."""
    gateway = gateway_of(request)
    if content_type_of(request) not in {None, *ARCHIVE_TYPES}:
        raise invalid("Content-Type", f"must be {' or '.join(ARCHIVE_TYPES)}")
    gateway.drain.refuse_new_work()
    archive = pieces(request, limits.ARCHIVE_BYTES_MAX)
    package = await upload(gateway.sender, gateway.around.topics, archive)
    if package is None:
        detail = "the body is empty, an .aion archive was expected"
        raise refused(RejectionCode.INVALID_PACKAGE, detail, reason=detail)
    namespace = Namespace(query.namespace)
    answer = await gateway.commands.ask_catalog(command_id_of(request, namespace), namespace, LoadPackage(package=package))
    match answer:
        case PackageAccepted():
            return LoadedPackage(
                records=[
                    LoadedTypeAnswer(
                        workflow_type=record.workflow_type,
                        version=record.version,
                        manifest_digest=record.manifest_digest,
                        deployed_at=record.deployed_at,
                    )
                    for record in answer.records
                ],
                freshly_loaded=answer.freshly_loaded,
                route_changed=answer.route_changed,
                warnings=list(answer.warnings),
            )
        case Rejection():
            raise refused_by(answer)
        case _:
            raise key_reused()


@router.get("/v1/versions", response_model=VersionsAnswer, response_model_exclude_none=True, responses=problems())
async def list_versions(request: Request, query: Annotated[VersionsQuery, Query()]) -> VersionsAnswer:
    """The loaded versions, of one workflow type or of all; with `pins`, how many runs need each of them still."""
    gateway, namespace = gateway_of(request), Namespace(query.namespace)
    workflow_type = None if query.workflow_type is None else WorkflowType(query.workflow_type)
    listed = await gateway.versions.listed(namespace, workflow_type)
    pins: Mapping[str, PinCounts] | None = None
    if query.pins == "true":
        pins = await count_pins(gateway.owners, gateway.around.partitions, namespace)
    return VersionsAnswer(
        versions=[
            VersionAnswer(
                workflow_type=one.workflow_type,
                version=one.version,
                route_active=one.route_active,
                deployed_at=one.deployed_at,
                manifest_digest=one.manifest_digest,
                pins=None if pins is None else pins.get(one.version, PinCounts()),
            )
            for one in listed
        ]
    )


@router.delete(
    "/v1/versions/{version}",
    response_model=UnloadedVersion,
    responses=problems(
        RejectionCode.UNKNOWN_VERSION, RejectionCode.ROUTE_ACTIVE, RejectionCode.VERSION_PINNED, RejectionCode.SHUTTING_DOWN
    ),
    openapi_extra=described_key(),
)
async def unload_version(request: Request, version: PathVersion, query: Annotated[NamespaceQuery, Query()]) -> UnloadedVersion:
    """Remove a version with all its workflow types, if provably nothing needs it."""
    namespace = Namespace(query.namespace)
    wish = UnloadVersion(version=Version(version))
    answer = await gateway_of(request).commands.ask_catalog(command_id_of(request, namespace), namespace, wish)
    match answer:
        case UnloadAccepted() if answer.version == wish.version:
            return UnloadedVersion()
        case Rejection():
            raise refused_by(answer)
        case _:
            raise key_reused()


@router.put(
    "/v1/routes/{workflow_type}",
    response_model=RoutedType,
    responses=problems(RejectionCode.UNKNOWN_VERSION, RejectionCode.UNKNOWN_WORKFLOW_TYPE, RejectionCode.SHUTTING_DOWN),
    openapi_extra=described_json(RouteTo),
)
async def route_type(
    request: Request,
    workflow_type: PathName,
    query: Annotated[NamespaceQuery, Query()],
) -> RoutedType:
    """Route new starts of the type to a loaded version."""
    body = await json_body(request, RouteTo)
    namespace = Namespace(query.namespace)
    wish = RouteType(workflow_type=WorkflowType(workflow_type), version=Version(body.version))
    commands = gateway_of(request).commands
    answer = await commands.ask_catalog(command_id_of(request, namespace), namespace, wish)
    match answer:
        case RouteAccepted():
            return RoutedType(
                workflow_type=answer.workflow_type,
                version=answer.version,
                previous_version=answer.previous_version,
                route_epoch=answer.route_epoch,
                route_changed=answer.route_changed,
            )
        case Rejection():
            raise refused_by(answer)
        case _:
            raise key_reused()
