"""Who may do what, and how much of it: the stores behind it, and the middleware in its order."""

from dataclasses import dataclass

from fastapi import FastAPI
from sqlalchemy import Engine

from api.callers import Authentication, Gatekeeper
from api.limits import Quotas, RateLimit
from api.routes.changes import ChangeLog
from api.store.changes import ChangeStore
from api.store.keys import KeyStore
from api.store.usage import UsageStore
from solon.settings import Settings


@dataclass(frozen=True)
class Access:
    """Made once per server."""

    keys: KeyStore
    quotas: Quotas
    changes: ChangeStore

    @classmethod
    def of(cls, database: Engine, settings: Settings) -> "Access":
        """That of a database."""
        usage = UsageStore(database, settings.tenancy.quota)
        return cls(KeyStore(database), Quotas(usage), ChangeStore(database))

    def guard(self, app: FastAPI) -> None:
        """Ask every request who sends it, then count it, and log what it changes. The last one added comes first."""
        app.add_middleware(ChangeLog, changes=self.changes)
        app.add_middleware(RateLimit, quotas=self.quotas)
        app.add_middleware(Authentication, gatekeeper=Gatekeeper(self.keys))
