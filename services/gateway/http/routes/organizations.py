"""Organizations and their teams (contract 5)."""

from __future__ import annotations

from services.gateway.http import (
    audit,
    audit_schemas,
    device_access,
    documents,
    events,
    orgs,
    people_schemas,
    products,
    requests,
)
from services.gateway.http.routes.rows import (
    AUTHORITIES,
    ORG,
    delete,
    get,
    post,
    put,
    streams,
)

ROUTES = [
    get(
        "/v1/orgs",
        "orgs.list",
        "The caller's organization",
        orgs.list_organizations,
        documents.Organizations(),
    ),
    post(
        "/v1/orgs",
        "orgs.create",
        "Found an organization",
        orgs.create_organization,
        documents.OrganizationAnswer(),
        request=requests.NewOrganization(),
        status=201,
    ),
    get(ORG, "orgs.read", "An organization", orgs.read_organization, documents.OrganizationAnswer()),
    put(
        ORG,
        "orgs.configure",
        "Call it something else",
        orgs.change_organization,
        documents.OrganizationAnswer(),
        request=people_schemas.OrganizationChanges(),
    ),
    get(ORG + "/products", "orgs.read", "Its products", products.list_products, documents.Products()),
    post(
        ORG + "/products",
        "products.create",
        "Create a product",
        products.create_product,
        documents.ProductCreated(),
        request=requests.NewProduct(),
        status=201,
    ),
    get(
        AUTHORITIES,
        "orgs.read",
        "Who signs certificates of the organization's devices",
        device_access.list_authorities,
        documents.DeviceAuthorities(),
    ),
    post(
        AUTHORITIES,
        "orgs.configure",
        "Trust an authority that signs device certificates",
        device_access.add_authority,
        documents.DeviceAuthorityAdded(),
        request=requests.NewDeviceAuthority(),
        status=201,
    ),
    delete(
        AUTHORITIES + "/{authority}",
        "orgs.configure",
        "Trust it no more",
        device_access.remove_authority,
        None,
        status=204,
    ),
    get(
        ORG + "/audit",
        "audit.read",
        "Who did what, when, from where and under which token",
        audit.list_audit,
        audit_schemas.Audit(),
        query=audit_schemas.AuditQuery(),
    ),
    *streams(ORG, "Live events of an organization", events.org_events),
    *streams(ORG + "/devices", "The same: live events of all its devices", events.org_events),
    *streams(ORG + "/products/{product}", "Live events of one of its products", events.org_product_events),
]
