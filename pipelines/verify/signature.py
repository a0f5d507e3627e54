"""The signature of a dataset: a plain Ed25519 key signs the bytes of its manifest.

The manifest has the digests of all files, so one signature covers every label and image. A key is
a file: there is no account, no service and no network, which a dataset may outlive. The private key
is read from its file, and appears in no message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.planning.registry import require
from florilegium.engine.results.manifest import MANIFEST, SIGNATURE
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.verify.verify import verify_dataset

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


_MAX_BYTES = 1 << 16
"""Bytes of the file of a key, at most; a key has some hundred."""


def sign(output: Folder, key: Path) -> None:
    """Sign a finished dataset in which nothing is wrong, with a private key (PEM).

    Raises:
        MissingPackage: the extra `signing` is not installed.
        ConfigError: the file is no private Ed25519 key.
        OutputInUse: another command writes the output.
        StorageError: something is wrong with the dataset.
    """
    require("a signature", ("cryptography",), extra="signing")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(_read(key), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(
            f"{key} is no private Ed25519 key without a password: "
            f"`openssl genpkey -algorithm ed25519 -out key.pem` makes one"
        )
    with writing(output) as lease:
        if problem := next(verify_dataset(output), ""):
            raise StorageError(f"nothing was signed, for {problem}")
        lease.check()
        signature = private.sign(output.read(MANIFEST) or b"")
        output.publish(SIGNATURE, base64.b64encode(signature) + b"\n")


def check_signature(output: Folder, key: Path) -> Iterator[str]:
    """Yield what is wrong with the signature of a dataset; nothing when a public key (PEM) fits.

    Raises:
        MissingPackage: the extra `signing` is not installed.
        ConfigError: the file is no public Ed25519 key.
    """
    public = _public_key(key)
    written = output.read(SIGNATURE)
    if written is None:
        yield f"{SIGNATURE} is missing: this version of the dataset is not signed"
        return
    from cryptography.exceptions import InvalidSignature

    try:
        signature = base64.b64decode(written.removesuffix(b"\n"), validate=True)
        public.verify(signature, output.read(MANIFEST) or b"")
    except (binascii.Error, InvalidSignature):
        yield f"{SIGNATURE} does not fit {MANIFEST} and the key {key}"


def _public_key(key: Path) -> Ed25519PublicKey:
    require("a signature", ("cryptography",), extra="signing")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(_read(key))
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError(
            f"{key} is no public Ed25519 key: "
            f"`openssl pkey -in key.pem -pubout -out key.pub` writes that of a private key"
        )
    return public


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)  # a device may never end
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}") from error
