"""The configuration file: right ones load, wrong ones say everything that is wrong, where, and what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.assembly import read_settings
from listener.config import (
    Channel,
    Config,
    ConfigError,
    Host,
    Leases,
    LogSettings,
    Runs,
    Service,
    SignedLinks,
    User,
    auth_from_environment,
    json_schema,
    load,
    read_secret,
    schema_text,
)
from listener.config_reports import CommentSettings, Notify
from listener.config_yaml import parse_yaml
from listener.template import Missing, Reference, Template

CONFIG = Path(__file__).parents[2] / "config"
KINDS = ("gitlab", "github", "apprise", "webhook")
GOOD = """
public_url: https://listener.example.com
users: [{name: ci, password_env: PASSWORD, namespaces: [ci]}]
hosts:
  gitlab: {kind: gitlab, url: https://gitlab.example.com, token_env: TOKEN}
services:
  - name: xyz
    runs: {namespace: ci, name: xyz-run-*}
    repository: gitlab:group/xyz
"""
ENV = {"PASSWORD": "p", "TOKEN": "t"}


def problems(path: Path, text: str, *, env: dict[str, str] | None = None) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, known_kinds=KINDS, env=ENV if env is None else env)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "listener.yaml"


def test_a_good_file_loads_and_one_repository_needs_no_list(path: Path) -> None:
    path.write_text(GOOD)
    loaded = load(path, known_kinds=KINDS, env=ENV)
    assert loaded.config.services[0].repository == ("gitlab:group/xyz",)
    assert loaded.warnings == ()


def test_the_shipped_file_is_right_and_fits_the_schema() -> None:
    loaded = load(CONFIG / "listener.yaml", known_kinds=KINDS, env={}, check_files=False)
    assert loaded.warnings == ()
    jsonschema.validate(parse_yaml(CONFIG / "listener.yaml").data, json_schema())


def test_the_shipped_schema_is_what_the_types_say() -> None:
    assert (CONFIG / "listener.schema.json").read_text() == schema_text(), "run 'make schema'"


@pytest.mark.parametrize(
    "model", [Config, User, Host, Channel, Runs, Service, CommentSettings, Notify, Leases, LogSettings, SignedLinks]
)
def test_every_key_stands_in_the_shipped_file_and_has_a_description(model: type[Any]) -> None:
    text = (CONFIG / "listener.yaml").read_text()
    for name, field in model.model_fields.items():
        assert re.search(rf"(^|[\s{{#-]){name}:", text), f"{name} is not in config/listener.yaml"
        assert field.description


def test_every_problem_is_told_at_once_with_line_field_and_hint(path: Path) -> None:
    found = problems(
        path,
        """\
public_url: listener.example.com
default_namespac: ci
users:
  - {name: ci, password_file: nope, namespaces: [CI]}
  - {name: other, namespaces: ["*"]}
hosts:
  gitlab: {kind: gitlb, url: https://gitlab.example.com, token_env: TOKEN}
  other: {kind: github, url: https://u:p@x.example.com, token_env: NOT_SET}
services:
  - name: a
    runs: {namespace: ci, name: on}
    repository: https://gitlab.example.com/group/a.git
    commit: $(param.revision)
  - name: b
    runs: {namespace: ci, name: 12}
    repository: gitlub:group/b
  - name: c
    runs: {name: x}
    repository: [gitlab:group/$(service), "gitlab:../x"]
  - name: d
    runs: {namespace: ci}
    repository: gitlap:group/d
""",
    )
    assert found == [
        "1: public_url: give a URL that begins with https:// (or http://)",
        "2: default_namespac: unknown key (did you mean default_namespace?)",
        "4: users[0].namespaces[0]: not a namespace's name: lower-case letters, digits and '-', at most 63 characters",
        "5: users[1]: no secret: give password_file (or password_env)",
        "7: hosts.gitlab.kind: no notifier of kind gitlb (did you mean gitlab?)",
        "8: hosts.other.url: no user name or password in the URL; secrets go into files",
        "11: services[0].runs.name: expected text, found true (YAML reads yes, no, on and off as true and false: quote it)",
        "12: services[0].repository: write HOST:PATH with HOST from 'hosts:', for example gitlab:group/a",
        "13: services[0].commit: $(param.revision) at character 1 is unknown; did you mean params?",
        "15: services[1].runs.name: expected text, found the number 12 (quote it)",
        "18: services[2].runs: namespace is missing",
        "19: services[2].repository[1]: a path has no '.' or '..' segment, no spaces and none of \\ ? # %",
        "22: services[3].repository: no host gitlap (did you mean gitlab?)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "links: signed\n",
            "1: links: signed needs a key (add signed_links: {key_file: FILE}, from openssl rand -hex 32)",
        ),
        (
            "links: dashboard\n",
            "1: links: give page, signed, or a URL with $(…) that begins with https:// (or http://)",
        ),
        ("links: javascript:alert(1)\n", "1: links: give page, signed, or a URL"),
        ("links: https://d.example.com/$(run.nam)\n", "1: links: $(run.nam) at character 23 is unknown"),
        ("links: https://d.example.com/$(service)\n", "1: links: $(service) has no value here"),
        ("signed_links: {days: 3}\n", "1: signed_links: no secret: give key_file (or key_env)"),
        ("signed_links: {key_file: nope}\n", "1: signed_links.key_file: nope: No such file or directory"),
        (
            "signed_links: {key_env: NOT_SET}\n",
            "1: signed_links.key_env: the environment variable NOT_SET is not set or empty",
        ),
        ("signed_links: {key_env: X, days: 0}\n", "1: signed_links.days: "),
        ("", "the file is empty"),
        ("- a\n", "1: expected keys with values at the top of the file"),
        ("a: [1\n", "not YAML"),
        ("hosts:\n\tgitlab: x\n", "2: "),
        ("public_url: a\npublic_url: b\n", "2: public_url: is there twice, first in line 1 (keep one)"),
        ("public_url: !!python/object:os.system x\n", "1: public_url: the tag"),
        ("users: 7\n", "1: users: expected a list, found the number 7"),
        ("hosts: {a: 1}\n", "1: hosts.a: expected keys with values (a mapping), found the number 1"),
        ("public_url: 2026-11-23\n", "1: public_url: expected text"),
        ("services: [{name: a, runs: {namespace: ci}, repository: []}]\n", "services[0].repository: is empty"),
        ("? [a]\n: b\n", "1: a key must be text"),
    ],
)
def test_broken_files_are_told_of_in_one_sentence_with_a_line(path: Path, text: str, said: str) -> None:
    assert any(said in problem for problem in problems(path, text))


def test_a_fallback_repository_stands_on_a_host_of_repository_and_once_for_each(path: Path) -> None:
    found = problems(
        path,
        """\
hosts:
  gitlab: {kind: gitlab, token_env: TOKEN}
  github: {kind: github, token_env: TOKEN}
services:
  - name: a
    runs: {namespace: ci}
    repository: gitlab:group/a
    fallback_repository: gitlap:$(params.fork)/a
  - name: b
    runs: {namespace: ci}
    repository: gitlab:group/b
    fallback_repository:
      - github:acme/b
      - gitlab:group/b
      - gitlab:$(service)/b
  - name: c
    runs: {namespace: ci}
    repository: gitlab:group/c
    fallback_repository: gitlab:../c
  - name: d
    runs: {namespace: ci}
    repository: [gitlab:group/d, github:acme/d]
    fallback_repository: [gitlab:$(params.fork)/d, github:$(params.fork)/d]
""",
    )
    b = "services[1].fallback_repository"
    assert found == [
        "8: services[0].fallback_repository: no host gitlap (did you mean gitlab?)",
        f"13: {b}[0]: repository has nothing on host github (it is tried when a repository of the same host answers 403 or 404)",
        f"14: {b}[1]: gitlab:group/b is the repository itself",
        f"15: {b}[2]: $(service) has no value (capture it in runs.name, for example $(service)-run-*)",
        f"15: {b}[2]: a second one on host gitlab (there is one for each host)",
        "19: services[2].fallback_repository: a path has no '.' or '..' segment, no spaces and none of \\ ? # %",
    ]


def test_a_missing_file_a_folder_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "no", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError, match=said):
            load(path, known_kinds=KINDS, env=ENV)
    (tmp_path / "x").write_bytes(b"public_url: a\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"x:2: not UTF-8 text"):
        load(tmp_path / "x", known_kinds=KINDS, env=ENV)


def test_aliases_cannot_blow_the_file_up(path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too large" in problems(path, "\n".join(levels))[0]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("", "the file is empty"), ("\n\n", "the file is empty")]
)
def test_a_secret_file_that_is_missing_or_empty_is_told_with_its_line(
    path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (path.parent / "token").write_text(content)
    (found,) = problems(path, GOOD.replace("token_env: TOKEN", "token_file: token"))
    assert found.startswith("5: hosts.gitlab.token_file: token: ")
    assert said in found


def test_a_secret_is_read_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("glpat-x y\r\n")
    assert read_secret(tmp_path / "s") == "glpat-x y"


def test_what_works_but_is_worth_a_look_is_a_warning(path: Path) -> None:
    text = GOOD.replace("public_url: https://listener.example.com\n", "").replace("https://gitlab", "http://gitlab")
    text = text.replace("services:\n", "  unused: {kind: github, token_env: TOKEN}\nservices:\n")
    text += "  - {name: again, runs: {namespace: ci, name: xyz-run-*}, repository: gitlab:group/again}\n"
    path.write_text(text)
    warnings = "\n".join(map(str, load(path, known_kinds=KINDS, env=ENV).warnings))
    assert "http://gitlab.example.com is not encrypted" in warnings
    assert "host unused is not used by any service" in warnings
    assert "never matches: the service in line" in warnings
    assert "public_url is not set" in warnings


@pytest.mark.parametrize(
    "env", [{"AUTH_USERNAME": "a"}, {"AUTH_PASSWORD": "a"}, {"AUTH_USERNAME": "", "AUTH_PASSWORD": ""}]
)
def test_half_of_the_environments_credentials_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="AUTH_"):
        auth_from_environment(env)


def test_with_nobody_who_may_log_in_it_does_not_start(path: Path) -> None:
    path.write_text(GOOD.replace("users: [{name: ci, password_env: PASSWORD, namespaces: [ci]}]\n", ""))
    with pytest.raises(ConfigError, match="AUTH_USERNAME and AUTH_PASSWORD"):
        read_settings(path, ENV)
    settings = read_settings(path, {**ENV, "AUTH_USERNAME": "a", "AUTH_PASSWORD": "b"})
    assert settings.environment_user == ("a", "b")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("leases: {shards: 0}", "leases.shards"),
        ("leases: {shrads: 3}", "did you mean shards"),
        ("leases: {renew_deadline: 15}", "not shorter than the duration"),
        ("leases: {retry_period: 6}", "no second try"),
        ("leases: {name: Not_A_Name}", "not a Lease's name"),
    ],
)
def test_leases_that_cannot_work_are_refused_with_the_reason(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "listener.yaml"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(ConfigError, match=message) as refused:
        load(path, known_kinds=KINDS, env=ENV)
    assert all(problem.line for problem in refused.value.problems)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
KEYS = st.sampled_from([*Config.model_fields, *Host.model_fields, *Service.model_fields, *User.model_fields]) | st.text(
    max_size=5
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


@settings(deadline=None, max_examples=150)
@given(document=DOCUMENTS)
def test_any_document_loads_or_is_refused_and_nothing_else(
    document: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(document))
    refused = refusal(path)
    assert refused is None or refused.problems
    assert "input_value" not in str(refused)
    assert "pydantic" not in str(refused)


def refusal(path: Path) -> ConfigError | None:
    """Why ``path`` is refused, None when it loads; any other exception is the test's failure."""
    try:
        load(path, known_kinds=KINDS, env={})
    except ConfigError as error:
        return error
    return None


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=60))
def test_any_bytes_load_or_are_refused_and_nothing_else(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(data)
    refused = refusal(path)
    assert refused is None or refused.problems


def test_templates_take_tektons_notation_and_say_what_is_wrong_with_another() -> None:
    template = Template.parse("$(params.a-b)/x/$(labels[\"app.kubernetes.io/name\"])$(annotations['a.b/c'])$(service)")
    assert template.references == (
        Reference("params", "a-b"),
        Reference("labels", "app.kubernetes.io/name"),
        Reference("annotations", "a.b/c"),
        Reference("service"),
    )
    for text, said in (
        ("$(params.a", "not closed"),
        ("$(parms.a)", "did you mean params"),
        ("x$(run.nam)", "did you mean run.name"),
        ("$(params)", r"write \$\(params.NAME\)"),
        ("$(params.__class__.x()", "write"),
    ):
        with pytest.raises(ValueError, match=said):
            Template.parse(text)


@given(text=st.text(alphabet=st.sampled_from("ab$(). {}"), max_size=20), value=st.text(min_size=1, max_size=10))
def test_a_value_is_put_in_as_it_is_and_never_read_again(text: str, value: str) -> None:
    text = re.sub(r"\$+\(", "", text)  # every '$' before a '(', for '$$((' without its '$(' is another one
    template = Template.parse(f"<$(params.x)>{text}")
    rendered = template.render(lambda _: value)
    assert rendered == f"<{value}>{text}"
    assert isinstance(template.render(lambda _: None), Missing)


def test_the_schema_is_plain_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))
