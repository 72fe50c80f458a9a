"""The ``orgs`` service, a class of each of its parts: RPC methods, and reactions that complete what was begun."""

from __future__ import annotations

from services.orgs.audit.audit_calls import AuditCalls
from services.orgs.customers.beta_calls import BetaCalls
from services.orgs.customers.customer_calls import CustomerCalls
from services.orgs.customers.transfer_calls import TransferCalls
from services.orgs.mail.mail_reactions import MailReactions
from services.orgs.oauth.client_calls import ClientCalls
from services.orgs.oauth.token_calls import TokenCalls
from services.orgs.people.account_calls import AccountCalls
from services.orgs.products.access_calls import AccessCalls
from services.orgs.products.product_calls import ProductCalls
from services.orgs.teams.organization_calls import OrganizationCalls
from services.orgs.teams.team_calls import TeamCalls


class OrgsService(
    AccountCalls,
    TokenCalls,
    ClientCalls,
    OrganizationCalls,
    TeamCalls,
    ProductCalls,
    BetaCalls,
    CustomerCalls,
    TransferCalls,
    AccessCalls,
    AuditCalls,
    MailReactions,
):
    """Accounts, access tokens, organizations with their teams, products and how their devices get in."""

    name = "orgs"
