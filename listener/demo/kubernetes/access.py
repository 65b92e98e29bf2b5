"""Who may do what in the cluster in memory: everything, but for what is forbidden on purpose; and SelfSubjectAccessReviews that say so."""

from __future__ import annotations

from dataclasses import dataclass, field

from listener.demo.kubernetes.store import Json


@dataclass(slots=True)
class Access:
    """What is forbidden, as ``(verb, resource)`` with ``pods/log`` for logs; in all namespaces."""

    forbidden: set[tuple[str, str]] = field(default_factory=set)
    reviews: bool = True  #: SelfSubjectAccessReviews are answered

    def allows(self, verb: str, resource: str, subresource: str = "") -> bool:
        return (verb, f"{resource}/{subresource}" if subresource else resource) not in self.forbidden

    def review(self, body: Json) -> Json:
        """A SelfSubjectAccessReview with its answer."""
        asked = body["spec"]["resourceAttributes"]
        allowed = self.allows(asked["verb"], asked["resource"], asked.get("subresource", ""))
        return {**body, "status": {"allowed": allowed}}
