"""The section ``logs:``: times and sizes, places, options without secrets, and the archive that is made of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from listener.assembly import Settings, StartError, build_archive
from listener.config import ConfigError, LogSettings, Place, json_schema, load
from listener.config_units import bytes_of, seconds_of
from listener.logs.archive import StoredArchive
from listener.logs.archive_cloud import CloudStore
from listener.logs.archive_folder import FolderStore
from tests.app_key import Key

ENV = {"TOKEN": "t"}
REST = """
hosts:
  gitlab: {kind: gitlab, token_env: TOKEN}
services:
  - {name: a, runs: {namespace: ci, name: a-*}, repository: gitlab:group/a}
public_url: https://listener.example.com
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("id", "key"):
        (tmp_path / name).write_text(f"secret-{name}\n")
    return tmp_path / "listener.yaml"


def loaded(path: Path, logs: str) -> LogSettings:
    path.write_text(f"logs: {logs}{REST}")
    return load(path, known_kinds=["gitlab"], env=ENV).config.logs


def problems(path: Path, logs: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(path, logs)
    return [str(problem).removeprefix(f"{path}:1: logs.") for problem in caught.value.problems]


def settings(path: Path, logs: str) -> Settings:
    config = load(path, known_kinds=["gitlab"], env=ENV).config
    return Settings(
        config=config.model_copy(update={"logs": loaded(path, logs)}), folder=path.parent, kinds={}, env=ENV
    )


def test_without_the_section_nothing_is_recorded_or_kept(path: Path) -> None:
    path.write_text(REST)
    config = load(path, known_kinds=["gitlab"], env=ENV).config
    logs = config.logs
    assert (logs.record, logs.archive, config.services[0].logs) == (False, None, None)
    assert (logs.keep, logs.keep_bytes) == (30 * 86400, 10 * 1024**3)
    assert (logs.spool_bytes, logs.spool_total) == (2 * 1024**3, 8 * 1024**3)
    assert (logs.streams, logs.streams_per_user, logs.idle, logs.longest) == (1000, 200, 120, 86400)


def test_a_service_says_for_itself_whether_its_logs_are_recorded(path: Path) -> None:
    path.write_text(REST.replace("gitlab:group/a", "gitlab:group/a, logs: record"))
    result = load(path, known_kinds=["gitlab"], env=ENV)
    assert result.config.services[0].logs == "record"
    (warning,) = result.warnings
    assert "tekton-listener-logs" in str(warning)
    path.write_text(REST.replace("gitlab:group/a", "gitlab:group/a, logs: yes"))
    with pytest.raises(ConfigError, match="logs"):
        load(path, known_kinds=["gitlab"], env=ENV)


def test_recording_with_an_archive_is_no_warning(path: Path) -> None:
    path.write_text(f"logs: {{record: true, archive: logs}}{REST}")
    assert load(path, known_kinds=["gitlab"], env=ENV).warnings == ()


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("30d", 2592000), ("2 h", 7200)]
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("1KiB", 1024),
        ("1KB", 1000),
        ("500MiB", 500 * 1024**2),
        ("10Gi", 10 * 1024**3),
        ("1.5TiB", 3 * 2**39),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "value",
    [
        "",
        "30",
        "d",
        "-1d",
        "1w",
        "1D",
        "1e3s",
        "1d\n",
        " 1d",
        "١d",
        "1h30m",
        "9" * 13 + "s",
        30,
        1.5,
        None,
        True,
        ["1d"],
    ],
)
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="30d"):
        seconds_of(value)


@pytest.mark.parametrize("value", ["", "10", "GiB", "-1GiB", "1gib", "1G", "1 PiB", "1GiB ", 10, None, 1.5e9])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="10GiB"):
        bytes_of(value)


@given(st.text() | st.from_regex(r"[0-9.]{1,20} ?[smhdBKMGTi]{1,3}"))
def test_any_text_is_a_time_and_a_size_or_a_value_error(text: str) -> None:
    for read in (seconds_of, bytes_of):
        try:
            assert 0 <= read(text) < float("inf")
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("logs", "problem"),
    [
        ("{keep: 30}", "keep: write a number with its unit: 30s, 5m, 2h or 30d"),
        ("{keep: 30 days}", "keep: write a number with its unit: 30s, 5m, 2h or 30d"),
        ("{keep: 5m}", "keep: is less than 1h"),
        ("{keep_bytes: 1KiB}", "keep_bytes: is less than 1MiB"),
        ("{idle: 0s}", "idle: is less than 1s"),
        ("{spool_bytes: 10G}", "spool_bytes: write a number with its unit: 500MiB or 10GiB (or MB and GB, which are thousands)"),
        ("{spool_bytes: 9GiB}", "spool_total: is less than one run may print, see spool_bytes"),
        ("{streams: 100, streams_per_user: 101}", "streams_per_user: is more than there are in all, see streams"),
        ("{streams: 0, streams_per_user: 1}", "streams: should be greater than or equal to 1"),
        ("{streams: many}", "streams: expected a whole number, found the text 'many'"),
        ("{record: 1}", "record: expected true or false, found the number 1"),
        ("{archive: ''}", "archive: is empty"),
        ("{archive: ftp://x/y}", "archive: give a folder, or a place that begins with s3://, gs:// or az://"),
        ("{archive: s3:///logs}", "archive: write s3://BUCKET/PREFIX; a bucket's name is lower-case letters, digits, '-' and '.'"),
        ("{archive: s3://key:secret@bucket/x}", "archive: write s3://BUCKET/PREFIX; a bucket's name is lower-case letters, digits, '-' and '.'"),
        ("{archive: s3://bucket/a/../b}", "archive: a prefix is letters, digits and -._=+ between '/'; no '.' or '..' and no empty segment"),
        ("{archive: 's3://bucket/a?b=c'}", "archive: a prefix is letters, digits and -._=+ between '/'; no '.' or '..' and no empty segment"),
        ("{archiv: x}", "archiv: unknown key (did you mean archive?)"),
        ("{archive: logs, archive_options: {region: x}}", "archive_options.region: is for an archive in s3://, gs:// or az://"),
        ("{archive_options: {region: x}}", "archive_options.region: is for an archive in s3://, gs:// or az://"),
        ("{archive: s3://bucket, archive_options: {regoin: x}}", "archive_options.regoin: unknown option (did you mean region?)"),
        ("{archive: s3://bucket, archive_options: {region: 1}}", "archive_options.region: expected text, found the number 1 (quote it)"),
        ("{archive: s3://bucket, archive_options: {secret_access_key: hunter2}}", "archive_options.secret_access_key: a secret does not stand here (give secret_access_key_file, the name of a file with it)"),
        ("{archive: s3://bucket, archive_options: {secret_access_key_file: nope}}", "archive_options.secret_access_key_file: nope: No such file or directory (mount the secret there, or correct the path)"),
        ("{archive: s3://bucket, archive_options: {ca_file: nope}}", "archive_options.ca_file: nope: no such file, or not readable"),
        ("{archive: s3://bucket, archive_options: {web_identity_token_file: nope}}", "archive_options.web_identity_token_file: nope: no such file, or not readable"),
        ("{archive: az://container, archive_options: {account_key: x}}", "archive_options.account_key: a secret does not stand here (give account_key_file, the name of a file with it)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(path: Path, logs: str, problem: str) -> None:
    assert problems(path, logs) == [problem]


def test_an_unencrypted_endpoint_is_worth_a_warning(path: Path) -> None:
    path.write_text(f"logs: {{archive: s3://bucket, archive_options: {{endpoint: 'http://minio:9000'}}}}{REST}")
    (warning,) = load(path, known_kinds=["gitlab"], env=ENV).warnings
    assert "http://minio:9000 is not encrypted" in str(warning)


def test_the_schema_takes_what_the_types_take(path: Path) -> None:
    for logs in ("{keep: 30d, keep_bytes: 1.5TiB}", "{archive: s3://bucket/x, archive_options: {region: eu}}"):
        loaded(path, logs)
        jsonschema.validate(yaml.safe_load(path.read_text()), json_schema())
    for wrong in ("{keep: 30}", "{keep: 30w}", "{spool_bytes: 1gb}"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"logs": yaml.safe_load(wrong)}, json_schema())


def test_the_schema_shows_defaults_as_they_are_written() -> None:
    properties = json_schema()["$defs"]["LogSettings"]["properties"]
    written = {name: p["default"] for name, p in properties.items() if p.get("default") is not None and "pattern" in p}
    assert LogSettings.model_validate(written) == LogSettings.model_validate({})
    assert "30d" in json.dumps(properties)
    assert issubclass(LogSettings, BaseModel)


# The archive that it makes


def test_no_archive_is_none(path: Path) -> None:
    path.write_text(REST)
    assert build_archive(settings(path, "{}")) is None


def test_a_folder_is_relative_to_the_files_folder(path: Path) -> None:
    path.write_text(REST)
    archive = build_archive(settings(path, "{archive: some/logs, keep: 2d, keep_bytes: 5MiB}"))
    assert archive == StoredArchive(
        store=FolderStore(path.parent / "some/logs"), keep_seconds=2 * 86400, keep_bytes=5 * 1024**2
    )
    assert not (path.parent / "some").exists()


def test_places() -> None:
    assert Place.of("s3://bucket/a/b/") == Place("s3", "bucket", "a/b")
    assert Place.of("az://container") == Place("az", "container", "")
    assert Place.of("/var/lib/logs") is None
    assert str(Place.of("gs://bucket/a")) == "gs://bucket/a"


@pytest.mark.parametrize(
    ("archive", "options", "made"),
    [
        (
            "s3://bucket/a/b",
            "{endpoint: 'https://minio.example.com', region: eu, access_key_id_file: id, secret_access_key_file: key}",
            {
                "bucket": "bucket",
                "endpoint": "https://minio.example.com",
                "region": "eu",
                "access_key_id": "secret-id",
                "secret_access_key": "secret-key",
            },
        ),
        ("az://container/a/b", "{account_name: acc, account_key_file: base64}", {"container_name": "container", "account_name": "acc", "account_key": "a2V5"}),
        ("gs://bucket/a/b", "{service_account_key_file: account.json}", {"bucket": "bucket"}),
    ],
    ids=["s3", "az", "gs"],
)  # fmt: skip
def test_every_kind_of_place_gets_its_options_and_the_content_of_files(
    path: Path, archive: str, options: str, made: dict[str, str]
) -> None:
    (path.parent / "base64").write_text("a2V5\n")
    account = {
        "type": "service_account",
        "private_key": Key().private,
        "private_key_id": "1",
        "client_email": "x@example.com",
    }
    (path.parent / "account.json").write_text(json.dumps(account))
    path.write_text(REST)
    found = build_archive(settings(path, f"{{archive: '{archive}', archive_options: {options}}}"))
    assert isinstance(found, StoredArchive)
    assert isinstance(found.store, CloudStore)
    store = found.store._store()  # what obstore was given can be seen nowhere else without a request
    assert {key: store.config[key] for key in made} == made
    assert store.prefix == "a/b"
    assert store.retry_config["max_retries"] == found.store.patience.retries
    assert "timeout" in store.client_options
    assert "read_timeout" in store.client_options
    for secret in ("secret-key", "a2V5", "PRIVATE"):
        assert secret not in repr(found)


def test_settings_that_obstore_refuses_are_told_without_a_traceback(path: Path) -> None:
    path.write_text(REST)
    (path.parent / "broken.json").write_text("{}")
    with pytest.raises(
        StartError, match=r"^logs\.archive: gs://bucket: these settings cannot be used: .*private_key"
    ) as error:
        build_archive(
            settings(path, "{archive: gs://bucket, archive_options: {service_account_key_file: broken.json}}")
        )
    assert "\n" not in str(error.value)


def test_without_the_extra_it_says_what_to_install_and_a_folder_needs_none(path: Path) -> None:
    """In a process of its own, where obstore cannot be imported."""
    path.write_text(f"logs: {{archive: s3://bucket}}{REST}")
    script = """
import sys
from pathlib import Path
sys.modules["obstore"] = None
from listener.assembly import Settings, StartError, build_archive
from listener.config import load
path = Path(sys.argv[1])
def build():
    config = load(path, known_kinds=["gitlab"], env={"TOKEN": "t"}).config
    return build_archive(Settings(config=config, folder=path.parent, kinds={}, env={}))
try:
    build()
except StartError as error:
    print(error)
path.write_text(path.read_text().replace("s3://bucket", "logs"))
print(type(build()).__name__)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.splitlines() == [
        "logs.archive: s3:// needs obstore, which is not installed: pip install 'tekton-pipeline-listener[archive]'",
        "StoredArchive",
    ]
