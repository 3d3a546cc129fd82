"""Standard Webhooks signatures (https://www.standardwebhooks.com), and secrets that are derived and never stored.

A webhook's secret is HMAC-SHA256 of its id and of the number of the secret, under one key of the service: the key is in
an environment variable or in a file that only the service reads, so a copy of the database signs nothing.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from solon.errors import InvalidInput
from solon.settings import Settings

_PREFIX: Final = "whsec_"
_LEAST: Final = 32


class Signer:
    """Signs with the secrets of the service's webhooks."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, settings: Settings) -> "Signer":
        """That of the settings; raises InvalidInput where there is no key, or a short one."""
        name = settings.webhooks.key_env
        if name is not None:
            key = os.environ.get(name, "")
            if len(key) < _LEAST:
                raise InvalidInput(
                    f"${name} must have {_LEAST} characters or more", field="webhooks.key_env", remedy=f"set ${name}"
                )
            return cls(key.encode())
        url = make_url(settings.database)
        if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
            raise InvalidInput(
                "names no variable, and there is no file beside this database",
                field="webhooks.key_env",
                remedy="an operator sets it to the name of a variable with 32 random characters or more",
            )
        return cls(_key_file(Path(f"{url.database}.webhook-key")))

    def secret(self, webhook_id: str, number: int) -> str:
        """The secret as receivers configure it."""
        return _PREFIX + base64.b64encode(self._secret(webhook_id, number)).decode()

    def headers(self, webhook_id: str, numbers: tuple[int, ...], message: str, at: int, body: str) -> dict[str, str]:
        """The three headers, with a signature for each secret.

        Args:
            at: Unix time in whole seconds of this attempt.
        """
        signed = f"{message}.{at}.{body}".encode()
        signatures = (
            base64.b64encode(hmac.digest(self._secret(webhook_id, number), signed, hashlib.sha256)).decode()
            for number in numbers
        )
        return {
            "webhook-id": message,
            "webhook-timestamp": str(at),
            "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
        }

    def _secret(self, webhook_id: str, number: int) -> bytes:
        return hmac.digest(self._key, f"{webhook_id}.{number}".encode(), hashlib.sha256)


def _key_file(path: Path) -> bytes:
    """The key in the file, made with it where there is none; of servers that start at once one makes it."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_LEAST))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
