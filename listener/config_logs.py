"""The types of the section ``logs:``: recording, where finished logs are kept and for how long, and what readers may take.

Where logs are kept is a folder or a place in object storage (``Place``). Its options are a closed list: what is secret can be given only
as the name of a file (or by the provider's environment variables), never by its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from listener.config_units import DURATION, SIZE, bytes_of, seconds_of

_BUCKET: Final = re.compile(r"[a-z0-9][-a-z0-9._]{1,62}")
_SEGMENT: Final = re.compile(r"[-A-Za-z0-9._=+]+")
_SCHEMES: Final = ("s3", "gs", "az")
_S3: Final = (
    "endpoint region virtual_hosted_style_request checksum_algorithm unsigned_payload server_side_encryption sse_kms_key_id"
    " role_arn role_session_name sts_endpoint disable_bulk_delete skip_signature"
)

PLAIN: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset(_S3.split()),
    "gs": frozenset({"base_url", "skip_signature"}),
    "az": frozenset({"account_name", "endpoint", "tenant_id", "client_id", "authority_host", "skip_signature"}),
}  #: options that are given as they are
PATHS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"web_identity_token_file"}),
    "gs": frozenset(),
    "az": frozenset({"federated_token_file"}),
}  #: options that are the names of files, which obstore reads
SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"access_key_id_file", "secret_access_key_file", "session_token_file"}),
    "gs": frozenset({"service_account_key_file"}),
    "az": frozenset({"account_key_file", "client_secret_file", "sas_key_file"}),
}  #: options that are the names of files with a secret: KEY_file for obstore's KEY
CA_FILE: Final = "ca_file"
DEFAULT_ARCHIVE: Final = "tekton-listener-logs"  #: a folder beside the configuration


@dataclass(frozen=True, slots=True)
class Place:
    """Where in object storage."""

    scheme: str  #: s3, gs or az
    bucket: str  #: in Azure's words: a container
    prefix: str  #: "" for the bucket's top

    @classmethod
    def of(cls, text: str) -> Place | None:
        """``s3://BUCKET/PREFIX`` and the like; None for a folder's name. Raises ``ValueError``."""
        scheme, colon, rest = text.partition("://")
        if not colon:
            return None
        if scheme not in _SCHEMES:
            raise ValueError("give a folder, or a place that begins with s3://, gs:// or az://")
        bucket, _, prefix = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(
                f"write {scheme}://BUCKET/PREFIX; a bucket's name is lower-case letters, digits, '-' and '.'"
            )
        prefix = prefix.rstrip("/")
        if prefix and not all(_SEGMENT.fullmatch(part) and part.strip(".") for part in prefix.split("/")):
            raise ValueError("a prefix is letters, digits and -._=+ between '/'; no '.' or '..' and no empty segment")
        return cls(scheme, bucket, prefix)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}{'/' if self.prefix else ''}{self.prefix}"


def _archive(text: str) -> str:
    Place.of(text)
    if "\0" in text:
        raise ValueError("not a folder's name")
    return text


def _at_least(least: float, words: str) -> Callable[[float], float]:
    def check(value: float) -> float:
        if value < least:
            raise ValueError(f"is less than {words}")
        return value

    return check


def _size_at_least(least: int, words: str) -> Callable[[int], int]:
    check = _at_least(least, words)
    return lambda value: int(check(value))


_DurationText = WithJsonSchema({"type": "string", "pattern": f"^{DURATION}$"})
_SizeText = WithJsonSchema({"type": "string", "pattern": f"^{SIZE}$"})
Seconds = Annotated[float, BeforeValidator(seconds_of), AfterValidator(_at_least(1, "1s")), _DurationText]
KeepTime = Annotated[float, BeforeValidator(seconds_of), AfterValidator(_at_least(3600, "1h")), _DurationText]
Bytes = Annotated[int, BeforeValidator(bytes_of), AfterValidator(_size_at_least(1024**2, "1MiB")), _SizeText]
_Text = Annotated[str, Field(min_length=1)]


def _time(default: str, *, description: str) -> Any:
    return Field(seconds_of(default), json_schema_extra={"default": default}, description=description)


def _size(default: str, *, description: str) -> Any:
    return Field(bytes_of(default), json_schema_extra={"default": default}, description=description)


class LogSettings(BaseModel):
    """The logs of runs: recording, the archive, limits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    record: bool = Field(
        False,
        description=(
            "Record the logs of all services' runs from their first line, with or without a reader, so that they outlive"
            " cancelled and deleted pods. A service's own logs: goes before this."
        ),
    )
    archive: Annotated[_Text, AfterValidator(_archive)] | None = Field(
        None,
        description=(
            "Where finished logs are kept, compressed: a folder (relative to this file's folder), or s3://BUCKET/PREFIX,"
            f" gs://BUCKET/PREFIX, az://CONTAINER/PREFIX. Without it: the folder {DEFAULT_ARCHIVE} where logs are recorded;"
            " where none are, they are gone with this process."
        ),
    )
    archive_options: dict[str, _Text] = Field(
        default_factory=dict,
        description=(
            "For s3://, gs:// and az://: endpoint, region and the like, and the names of files with credentials. Without"
            " these the provider's usual environment variables and the pod's identity are used."
        ),
    )
    keep: KeepTime = _time("30d", description="How long a finished log is kept in the archive (s, m, h or d).")
    keep_bytes: Bytes = _size(
        "10GiB", description="How large all archived logs may be together, compressed; the oldest go first."
    )
    spool_folder: _Text | None = Field(
        None,
        description="Folder for logs while they are read. Without it: the system's folder for temporary files.",
    )
    spool_bytes: Bytes = _size("2GiB", description="What one run may print; the rest of its log is left out.")
    spool_total: Bytes = _size("8GiB", description="What all spools may take on the disk together.")
    streams: int = Field(1000, ge=1, le=100_000, description="Log streams that are open at the same time, in all.")
    streams_per_user: int = Field(200, ge=1, le=100_000, description="Log streams of one user at the same time.")
    idle: Seconds = _time("2m", description="How long a reader may take no bytes although there are some.")
    longest: Seconds = _time("24h", description="How long one stream may last.")
