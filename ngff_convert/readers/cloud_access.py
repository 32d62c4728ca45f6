"""How a remote file is reached: the store of the library obstore that a URL means, and the key in it.

Secrets come from the environment, from profiles of AWS, or from the machine's role; never from options.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import OptionError, UnsupportedInput
from ngff_convert.readers.urls import scheme_of, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ClientConfig, RetryConfig

KEYS = ("endpoint", "region", "profile", "anonymous")
"""What ``--storage-options`` may say; servers that are only http need none of it."""

CLIENT: ClientConfig = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "1h"}
"""A server that says nothing for so long is given up; a slow one that goes on sending is not."""

NO_RETRIES: RetryConfig = {"max_retries": 0}
"""Whoever asks does it again, and knows when it is no longer wanted."""

_OTHER_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Where one of these is set, obstore finds what it needs by itself."""


def store_of(url: str, storage_options: Mapping[str, str]) -> tuple[Any, str]:
    """Return the store of obstore that holds a file, and the key of the file in it.

    Raises
    ------
    UnsupportedInput
        The library is not installed, or the URL names no file.
    OptionError
        The options do not fit: there is no such key or profile.
    """
    try:
        from obstore.store import GCSStore, HTTPStore, S3Store
    except ImportError as error:
        raise UnsupportedInput(
            f"{shown(url)}: what lies on a server is read with obstore, which is not installed: "
            "pip install 'ngff-convert[cloud]'"
        ) from error
    if unknown := sorted(set(storage_options).difference(KEYS)):
        raise OptionError(
            f"--storage-options {unknown[0]}: there is no such key; there are {', '.join(KEYS)}"
        )
    scheme = scheme_of(url)
    common: dict[str, Any] = {"retry_config": NO_RETRIES}
    if scheme in ("http", "https"):
        return HTTPStore(url, client_options=_client(url), **common), ""
    bucket, _, key = url.partition("://")[2].partition("/")
    if not bucket or not key:
        raise UnsupportedInput(f"{url}: names no file; it takes a bucket and a key: {scheme}://bucket/a.ims")
    endpoint = storage_options.get("endpoint")
    if scheme == "s3":
        config = _s3(storage_options)
        endpoint = config.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL")
        return S3Store(bucket, **config, client_options=_client(endpoint or ""), **common), key
    config = {"skip_signature": True} if _anonymous(storage_options) else {}
    config |= {"base_url": endpoint} if endpoint else {}
    return GCSStore(bucket, **config, client_options=_client(endpoint or ""), **common), key


def _client(address: str) -> ClientConfig:
    return {**CLIENT, "allow_http": address.lower().startswith("http://")}


def _anonymous(storage_options: Mapping[str, str]) -> bool:
    return storage_options.get("anonymous", "").lower() in ("true", "1", "yes")


def _s3(storage_options: Mapping[str, str]) -> dict[str, Any]:
    named = {key: storage_options[key] for key in ("endpoint", "region") if key in storage_options}
    if "endpoint" not in named and (endpoint := os.environ.get("AWS_ENDPOINT_URL_S3")):
        named["endpoint"] = endpoint
    if _anonymous(storage_options):
        return {**named, "skip_signature": True}
    profile = storage_options.get("profile")
    if profile is None and any(map(os.environ.get, _OTHER_CREDENTIALS)):
        return named
    return {**_profile(profile or os.environ.get("AWS_PROFILE"), os.environ), **named}


def _profile(name: str | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what a profile of AWS says, which obstore does not read; nothing where there are none.

    Raises
    ------
    OptionError
        There is no profile of that name, or it takes a library that is not installed.
    """
    home = Path("~/.aws").expanduser()
    files = configparser.RawConfigParser()
    files.read(environment.get("AWS_CONFIG_FILE") or home / "config", encoding="utf-8")
    own = configparser.RawConfigParser()
    own.read(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", encoding="utf-8")
    wanted = name or "default"
    said: dict[str, str] = {}
    for parser, section in ((files, wanted), (files, f"profile {wanted}"), (own, wanted)):
        said |= dict(parser[section]) if parser.has_section(section) else {}
    if not said:
        if name:
            raise OptionError(f"--storage-options profile={name}: there is no such profile in {home}")
        return {}
    taken = ("region", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    config: dict[str, Any] = {key.removeprefix("aws_"): said[key] for key in taken if key in said}
    if "endpoint_url" in said:
        config["endpoint"] = said["endpoint_url"]
    if "access_key_id" not in config and {
        "sso_session",
        "sso_start_url",
        "role_arn",
        "credential_process",
    } & set(said):
        config["credential_provider"] = _by_boto3(wanted)
    return config


def _by_boto3(profile: str) -> Any:  # noqa: ANN401 - boto3 is untyped
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise OptionError(
            f"--storage-options profile={profile}: logs in by SSO, a role or a program, which takes boto3: "
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    return Boto3CredentialProvider(boto3.session.Session(profile_name=profile))
