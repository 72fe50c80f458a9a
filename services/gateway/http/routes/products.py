"""Products and how their devices get in (contract 6)."""

from __future__ import annotations

from services.gateway.http import (
    device_access,
    documents,
    events,
    past,
    product_log,
    product_log_schemas,
    products,
    products_schemas,
    requests,
)
from services.gateway.http.routes.rows import (
    ACCESS,
    AS_OF,
    PRODUCT,
    delete,
    get,
    post,
    put,
    streams,
)

ROUTES = [
    *(
        get(
            path,
            "products.list",
            "Products of the caller's organization",
            products.list_own_products,
            documents.Products(),
        )
        for path in ("/v1/products", "/v1/user/products")
    ),
    post(
        "/v1/user/products",
        "products.create_own",
        "Create a product in the caller's organization",
        products.create_own_product,
        documents.ProductCreated(),
        request=requests.NewProduct(),
        status=201,
        also=("products.create",),
    ),
    get(PRODUCT, "products.read", "A product", products.read_product, documents.ProductAnswer()),
    put(
        PRODUCT,
        "products.configure",
        "Change what is said of a product",
        products.change_product,
        products_schemas.ProductChanged(),
        request=products_schemas.ProductChanges(),
    ),
    delete(
        PRODUCT, "products.remove", "Remove a product that has no devices", products.remove_product, None, status=204
    ),
    get(
        PRODUCT + "/config",
        "products.read",
        "The answers to the questionnaire; with Accept: application/schema+json, the questions",
        products.read_configuration,
        products_schemas.Configuration(),
    ),
    put(
        PRODUCT + "/config",
        "products.configure",
        "Answer questions",
        products.answer_configuration,
        products_schemas.Configuration(),
        request=products_schemas.Answers(),
    ),
    post(
        PRODUCT + "/manufacturing",
        "products.configure",
        "Say that the product is ready to manufacture",
        products.start_manufacturing,
        products_schemas.Manufacturing(),
        body="none",
        status=201,
    ),
    get(PRODUCT + "/stats", "products.read", "Its figures", products.read_statistics, documents.Statistics(), **AS_OF),
    get(
        PRODUCT + "/changes",
        "devices.read",
        "What changed in the fleet between two moments",
        past.list_changes,
        documents.Changes(),
        query=requests.Changes(),
        past=True,
    ),
    get(ACCESS, "products.read", "How its devices get in", device_access.read_device_access, documents.AccessAnswer()),
    put(
        ACCESS,
        "products.configure",
        "Change how its devices get in",
        device_access.configure_device_access,
        documents.AccessConfigured(),
        request=requests.AccessChanges(),
    ),
    post(
        ACCESS + "/provisioning_key",
        "products.configure",
        "A new key and secret with which devices provision themselves; the old ones end",
        device_access.issue_provisioning_key,
        documents.ProvisioningKey(),
        body="none",
        status=201,
        secret=True,
    ),
    get(
        PRODUCT + "/logs",
        "events.read",
        "What was published, as far as it is kept, the newest first",
        product_log.list_log,
        product_log_schemas.ProductLog(),
        query=product_log_schemas.LogQuery(),
    ),
    *streams(PRODUCT, "Live events of a product", events.product_events),
]
