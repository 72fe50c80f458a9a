"""Customers, private betas and claims (contract 8 and 11)."""

from __future__ import annotations

from services.gateway.http import beta, claims, customers, customers_schemas, documents, people_schemas, requests
from services.gateway.http.routes.rows import ORG, PRODUCT, delete, get, post, put

_CUSTOMER = PRODUCT + "/customers/{email}"
_CODES = PRODUCT + "/activation_codes"

ROUTES = [
    *(
        post(
            path + "/customers",
            "customers.create",
            "Create a customer: with a client's credentials, in a browser, or as the team",
            customers.create_customer,
            documents.TokenGrant(),
            request=customers_schemas.NewCustomer(),
            status=201,
            secret=True,
            redirects=True,
        )
        for path in (PRODUCT, ORG)
    ),
    get(
        PRODUCT + "/customers",
        "customers.read",
        "Customers and what they have",
        customers.list_customers,
        customers_schemas.Customers(),
        query=customers_schemas.CustomersQuery(),
    ),
    post(
        PRODUCT + "/customers/password-reset",
        "customers.reset",
        "Have a link mailed to a customer that sets a new password",
        customers.ask_reset,
        people_schemas.Done(),
        request=customers_schemas.CustomerResetRequest(),
    ),
    put(
        PRODUCT + "/customers/password-reset",
        "customers.reset",
        "Follow that link",
        customers.reset_password,
        documents.Ok(),
        request=customers_schemas.CustomerReset(),
    ),
    put(
        _CUSTOMER,
        "customers.change",
        "Give a customer another password",
        customers.set_password,
        documents.Ok(),
        request=customers_schemas.CustomerPassword(),
    ),
    delete(_CUSTOMER, "customers.change", "Delete a customer", customers.delete_customer, documents.Ok()),
    post(
        _CODES,
        "beta.change",
        "Invite people to the private beta",
        beta.invite,
        customers_schemas.ActivationCodes(),
        request=customers_schemas.Invitees(),
        body="upload",
        status=201,
    ),
    get(
        _CODES,
        "beta.read",
        "Activation codes of the private beta",
        beta.list_codes,
        customers_schemas.ActivationCodes(),
        query=customers_schemas.CustomersQuery(),
    ),
    *(
        post(
            path + "/device_claims",
            "claims.create_as_customer",
            "A claim code of a customer: a device of the product that shows it is the customer's",
            claims.create_customers_code,
            documents.ClaimCode(),
            request=requests.NewClaimCode(),
            secret=True,
        )
        for path in (PRODUCT, ORG + "/products/{product}")
    ),
    post(
        "/v1/devices",
        "claims.create",
        "Claim a device by its ID",
        claims.claim_device,
        customers_schemas.Claimed(),
        request=customers_schemas.Claim(),
    ),
]
