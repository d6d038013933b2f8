"""Write files that must not be there yet, secret ones for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .authority import Credential, read_credential

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca.key"


def refuse_to_overwrite(*paths: Path) -> None:
    """Say no before anything is written, if one of these is there.

    :raises click.ClickException: with all that are.
    """
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise click.ClickException(
            f"not overwritten: {', '.join(there)}; move it away, or choose another place"
        )


def write_new(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a new file.

    :param secret: readable by its owner alone, from the first moment.
    :raises OSError: if it is there, or can't be made.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def write_credential(credential: Credential, certificate: Path, key: Path) -> None:
    """Write a certificate and its key, the key first: a certificate without one would be of no use."""
    write_new(key, credential.key_pem, secret=True)
    write_new(certificate, credential.certificate_pem)


def read_authority(directory: Path) -> Credential:
    """The CA in a directory.

    :raises click.ClickException: if there is none that can be used.
    """
    certificate, key = directory / CA_CERTIFICATE, directory / CA_KEY
    try:
        return read_credential(certificate.read_bytes(), key.read_bytes())
    except OSError as e:
        raise click.ClickException(
            f"no CA in {directory}: {e.filename}: {e.strerror}; make one with `sipmesh ca create`, "
            "or name the directory that holds it with --ca"
        ) from e
    except ValueError as e:
        raise click.ClickException(f"{certificate} and {key} are not a CA that can be used: {e}") from e
