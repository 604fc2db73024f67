"""What every way in has in common: a work item in, a JWS (RFC 7515) signed by Key Vault out."""

import asyncio
import base64
import hashlib
import json
import logging
import re
import sys
import time
from urllib.parse import urlsplit

from azure.core.exceptions import ResourceExistsError
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.keys import KeyVaultKeyIdentifier
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import SignatureAlgorithm
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

JOSE = ContentSettings(content_type="application/jose+json")
WHITESPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
log = logging.getLogger("signing")


class Signer:
    """Signs work items with one version of the vault's key."""

    def __init__(self, key_url: str, results_url: str) -> None:
        self.key_url = key_url
        self.credential = ManagedIdentityCredential()
        self.results = ContainerClient.from_container_url(results_url, self.credential)
        # A vault behind another name, on this machine: its challenge does not name the host that was asked.
        self.vault_options = {"verify_challenge_resource": urlsplit(key_url).hostname != "localhost"}

    async def warm_up(self) -> None:
        """Pins the key's version, and opens the connections before the first item needs them."""
        key = KeyVaultKeyIdentifier(self.key_url)
        keys = KeyClient(key.vault_url, self.credential, **self.vault_options)
        self.key, _ = await asyncio.gather(keys.get_key(key.name, key.version), self.results.exists())
        # It shares the connections of the client that makes it.
        self.cryptography = keys.get_cryptography_client(key.name, key_version=self.key.properties.version)

    async def sign(self, message: str, origin: dict[str, str]) -> str:
        """Signs the item's payload and creates its result, whose name is returned; `origin` is metadata."""
        item = members(message)
        payload = item["payload"].encode()
        header = {"alg": "ES256", "kid": self.key.id, "cty": "application/json", "iat": int(time.time())}
        jws = {
            "payload": base64url(payload),
            "protected": base64url(json.dumps(header, separators=(",", ":")).encode()),
        }
        digest = hashlib.sha256(f"{jws['protected']}.{jws['payload']}".encode()).digest()
        signed = await self.cryptography.sign(SignatureAlgorithm.es256, digest)
        jws["signature"] = base64url(signed.signature)

        name = f"{json.loads(item['id'])}.jws.json"
        metadata = {
            "signet_sha256": hashlib.sha256(payload).hexdigest(),
            "signet_kid": self.key.id,
            "signet_alg": "ES256",
            "signet_version": "1.0.0",
            **origin,
        }
        document = json.dumps(jws, separators=(",", ":")).encode()
        try:
            # Without `overwrite`, the blob is created or left alone: If-None-Match: *.
            await self.results.upload_blob(name, document, content_settings=JOSE, metadata=metadata)
        except ResourceExistsError:
            log.info("%s stands already", name)  # It came again: the first result counts.
        return name


def members(text: str) -> dict[str, str]:
    """The members of a JSON object, each value's text exactly as it stands there."""
    found: dict[str, str] = {}
    at = skip(text, skip(text, 0, "{"))
    while text[at] != "}":
        name, at = DECODER.raw_decode(text, at)
        start = skip(text, skip(text, at, ":"))
        _, end = DECODER.raw_decode(text, start)
        found[name] = text[start:end]
        at = skip(text, end)
        if text[at] == ",":
            at = skip(text, at + 1)
    return found


def skip(text: str, at: int, expected: str = "") -> int:
    """The position behind white space, and behind what is expected there."""
    at = WHITESPACE.match(text, at).end()
    if not text.startswith(expected, at):
        raise ValueError(f"{expected!r} expected at {at}")
    return at + len(expected)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def log_to_output() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
