"""Groups of devices (contract 10)."""

from __future__ import annotations

from services.gateway.http import documents, groups, groups_schemas
from services.gateway.http.routes.rows import PRODUCT, delete, get, post, put

_GROUPS = PRODUCT + "/groups"
_GROUP = _GROUPS + "/{group}"

ROUTES = [
    get(
        _GROUPS,
        "groups.read",
        "Groups of a product",
        groups.list_groups,
        groups_schemas.Groups(),
        query=groups_schemas.GroupQuery(),
    ),
    post(
        _GROUPS,
        "groups.change",
        "Make a group",
        groups.create_group,
        groups_schemas.GroupAnswer(),
        request=groups_schemas.NewGroup(),
        status=201,
    ),
    get(_GROUP, "groups.read", "A group", groups.read_group, groups_schemas.GroupAnswer()),
    put(
        _GROUP,
        "groups.change",
        "Change a group; its devices follow a new name",
        groups.change_group,
        groups_schemas.GroupAnswer(),
        request=groups_schemas.GroupChanges(),
    ),
    delete(_GROUP, "groups.change", "Delete a group; its devices leave it", groups.delete_group, None, status=204),
    put(
        PRODUCT + "/devices",
        "devices.update",
        "Put many devices into groups, or take them out",
        groups.regroup_devices,
        documents.Ok(),
        request=groups_schemas.DevicesUpdate(),
    ),
]
