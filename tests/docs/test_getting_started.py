"""docs/getting-started.md, word by word, as far as it goes without a cluster: its values are rendered by Helm, and what the chart makes of them is
run as the image runs it, against the cluster and the GitLab in memory. Its PipelineRun is created, and its commands are asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from listener.assembly import read_settings
from listener.check_config import check
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.doctor.command import examine
from listener.service import Service
from tests.chart.rendering import ROOT, Rendered, render
from tests.docs.markdown import page
from tests.scene import basic

PAGE: Final = page("docs/getting-started.md")
SHA: Final = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"  # the page's forty digits
TOKEN: Final = "glpat-getting-started"
PASSWORD: Final = "correct horse"
DONE: Final[dict[str, Any]] = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "done"}


def yaml_blocks() -> list[Any]:
    return [yaml.safe_load(block.text) for block in PAGE.blocks if block.language == "yaml"]


def installed() -> Rendered:
    """Step 4 and 5."""
    return render(yaml_blocks()[0], name="listener")


@dataclass(frozen=True, slots=True)
class Pod:
    """What the container finds: its configuration and its environment."""

    config: Path
    env: dict[str, str]


def pod(folder: Path, cluster: KubernetesApi, gitlab: GitLab) -> Pod:
    """The release's container here: its folders are below ``folder``, and the host of the values is the one in memory."""
    release = installed()
    values = {entry["name"]: entry.get("value") for entry in release.container["env"]}
    secrets = {
        "AUTH_USERNAME": "ci",
        "AUTH_PASSWORD": PASSWORD,
        "POD_NAME": "listener-0",
        "POD_NAMESPACE": "tekton-listener",
    }
    assert {name for name, value in values.items() if value is None} == secrets.keys()
    env = {name: str(value) for name, value in values.items() if value is not None} | secrets
    text = release.config_text.replace("https://gitlab.example.com", gitlab.url)
    for place in sorted({mount["mountPath"] for mount in release.container["volumeMounts"]}):
        (folder / place.lstrip("/")).mkdir(parents=True)
        text = text.replace(place, str(folder / place.lstrip("/")))
        env = {name: value.replace(place, str(folder / place.lstrip("/"))) for name, value in env.items()}
    (folder / "run/secrets/tekton-listener/git/token").write_text(f"{TOKEN}\n")
    config = Path(env["TEKTON_LISTENER_CONFIG"])
    config.write_text(text)
    return Pod(config, env | {"KUBECONFIG": str(cluster.kubeconfig(folder / "kubeconfig"))})


@asynccontextmanager
async def serving(found: Pod) -> AsyncIterator[Service]:
    """As ``tekton-listener serve``, which is what the image runs."""
    assert 'ENTRYPOINT ["tekton-listener"]\nCMD ["serve"]' in (ROOT / "Dockerfile").read_text()
    settings = dataclasses.replace(read_settings(found.config, found.env), host="127.0.0.1", port=0, grace=5.0)
    async with Service(settings) as service:
        yield service


async def test_the_first_status_appears_and_the_commands_answer(
    tmp_path: Path, cluster: KubernetesApi, capsys: Any
) -> None:
    run = yaml_blocks()[2]
    run["metadata"]["name"] = run["metadata"]["generateName"] + "x7k2p"
    async with GitLab(tokens=(TOKEN,)) as gitlab:
        gitlab.add_project("group/service-xyz", {SHA: "Add a feature"})
        found = pod(tmp_path, cluster, gitlab)

        said: list[str] = []
        assert await examine(found.config, found.env, json=False, say=said.append) == 0, said

        async with serving(found) as service:
            cluster.create(
                "pipelineruns", {**run, "status": {"conditions": [DONE | {"status": "Unknown", "reason": "Running"}]}}
            )
            await gitlab.wait_for(lambda posted: [p.state for p in posted] == ["running"])
            cluster.patch("pipelineruns", "ci", run["metadata"]["name"], {"status": {"conditions": [DONE]}})
            await gitlab.wait_for(lambda posted: [p.state for p in posted] == ["running", "success"])
            shown = gitlab.latest("group/service-xyz", SHA)
            assert list(shown) == ["tekton/service-xyz-run"]  # as step 7 says
            assert "`tekton/service-xyz-run`, running, then passed" in PAGE.text

            headers = {"Authorization": basic("ci", PASSWORD)}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}", headers=headers) as session:
                for path, wanted in (
                    ("health", '{"status":1}'),
                    ("status/RUN", '"reason":"Succeeded"'),
                    ("logs/RUN", "# verdict: Succeeded ("),
                ):
                    assert f'"$TEKTON_LISTENER/{path.replace("RUN", "$RUN")}"' in PAGE.text
                    async with session.get(f"/{path.replace('RUN', run['metadata']['name'])}") as answer:
                        assert answer.status == 200
                        assert wanted in await answer.text()

    # "Ask what becomes of the run"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    capsys.readouterr()
    assert check(found.config, run=tmp_path / "run.yaml", check_files=True, env=found.env) == 0
    assert "context     tekton/service-xyz-run" in capsys.readouterr().out


def test_the_commands_name_what_the_chart_makes() -> None:
    release = installed()
    name = release.one("Deployment")["metadata"]["name"]
    commands = "".join(block.text for block in PAGE.blocks if block.language == "sh")
    assert set(re.findall(r"deploy(?:ment)?/(\S+)", commands)) == {name}
    assert set(re.findall(r"service/(\S+)", commands)) == {name}
    assert release.one("Service", name)["spec"]["ports"][0]["port"] == 8080
    assert {entry["secretKeyRef"]["name"] for entry in _values_from(release)} == {"listener-user"}
    secrets = [volume["secret"]["secretName"] for volume in release.pod["volumes"] if "secret" in volume]
    made = set(re.findall(r"create secret generic (\S+)", commands))
    assert made == {"listener-user", *secrets}
    assert all(one["metadata"]["namespace"] == "ci" for one in release.all("Role") if "leases" not in str(one))


def _values_from(release: Rendered) -> list[dict[str, Any]]:
    froms = [entry["valueFrom"] for entry in release.container["env"] if "valueFrom" in entry]
    return [one for one in froms if "secretKeyRef" in one]
