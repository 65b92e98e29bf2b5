"""Service accounts, their tokens, and what Roles allow them: enough of RBAC to see which verb somebody lacks.

Whoever comes with a token that ``serviceaccounts/token`` has issued may do what the Roles bound to that account in a namespace say, and
nothing else. Everybody else is what ``KubernetesApi(tokens=…)`` makes of him. No ClusterRoles, no groups, no expiry.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

from listener.demo.kubernetes.store import Json, Store


class Account(NamedTuple):
    """A service account."""

    namespace: str
    name: str

    @property
    def user(self) -> str:
        """As messages name it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class Accounts:
    """Who has which token, and what he may do."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[str, Account] = {}

    def issue(self, namespace: str, name: str) -> Json:
        """A TokenRequest's answer. Raises ``StatusError`` 404."""
        self._store.get("serviceaccounts", namespace, name)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = Account(namespace, name)
        status = {"token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}, "status": status}

    def of(self, token: str) -> Account | None:
        """Whose token this is, if one was issued."""
        return self._tokens.get(token)

    def allows(
        self, account: Account, verb: str, group: str, resource: str, subresource: str, namespace: str | None, name: str
    ) -> bool:
        """Whether a Role bound to the account in this namespace says so; never for the whole cluster."""
        what = f"{resource}/{subresource}" if subresource else resource
        for rule in self._rules(account, namespace):
            names = rule.get("resourceNames") or ()
            if (
                _holds(rule, "verbs", verb)
                and _holds(rule, "apiGroups", group)
                and _holds(rule, "resources", what)
                and (not names or name in names)
            ):
                return True
        return False

    def _rules(self, account: Account, namespace: str | None) -> Iterator[Json]:
        for place in self._store.names("rolebindings"):
            if place[0] != namespace:
                continue
            binding = self._store.get("rolebindings", *place).object
            subject = {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
            if subject not in [{key: s.get(key) for key in subject} for s in binding.get("subjects") or ()]:
                continue
            role = self._store.shelf("roles").objects.get((place[0], binding["roleRef"]["name"]))
            yield from (role.object.get("rules") or ()) if role is not None else ()

    def review(self, token: str, body: Json) -> Json:
        """A SelfSubjectAccessReview's answer to who has such a token."""
        asked: dict[str, Any] = body.get("spec", {}).get("resourceAttributes") or {}
        account = self.of(token)
        allowed = account is None or self.allows(
            account,
            asked.get("verb", ""),
            asked.get("group", ""),
            asked.get("resource", ""),
            asked.get("subresource", ""),
            asked.get("namespace"),
            asked.get("name", ""),
        )
        return {**body, "status": {"allowed": allowed}}


def _holds(rule: Json, key: str, value: str) -> bool:
    return bool({"*", value} & set(rule.get(key) or ()))
