"""The in-memory cluster answers what a real API server was asked, line by line of ``responses.jsonl``, with the same status and shape."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest

from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.replay import replay
from tests.scene import RECORDINGS, recording

LINES = [json.loads(line) for line in (RECORDINGS / "responses.jsonl").read_text().splitlines()]
TOKEN = "good"
# What the request's meaning depends on and a line of the file does not say.
AUTHORIZATION = {"bad token": "Bearer wrong", "anonymous": ""}
ACCEPT = {"metadata only": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
PATCH = {"PATCH": "application/merge-patch+json"}
# Words of a status message that differ from run to run: numbers, and what a JSON parser complains about.
VARIABLE = re.compile(r"\d+|invalid character .*")


def shape(value: Any) -> Any:
    """Keys and types, all the way down; a list has the shape of its first entry."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items() if key != "fieldsV1"}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def is_status(body: Any) -> bool:
    return isinstance(body, dict) and body.get("kind") == "Status"


def assert_same(ours: Any, theirs: Any) -> None:
    if is_status(theirs):
        assert {**ours, "message": ""} == {**theirs, "message": ""} or shape(ours) == shape(theirs)
        assert (ours["code"], ours["reason"], ours["status"]) == (theirs["code"], theirs["reason"], theirs["status"])
        assert VARIABLE.sub("#", ours["message"]) == VARIABLE.sub("#", theirs["message"])
        return
    if isinstance(theirs, dict):
        assert (ours.get("kind"), ours.get("apiVersion")) == (theirs.get("kind"), theirs.get("apiVersion"))
    assert shape(ours) == shape(theirs)


def lines_of(body: str) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


async def ask(
    session: aiohttp.ClientSession, line: dict[str, Any], params: dict[str, str] | None
) -> aiohttp.ClientResponse:
    method, path = line["request"].split(" ", 1)
    authorization = AUTHORIZATION.get(line["note"], f"Bearer {TOKEN}")
    headers = {
        "Accept": ACCEPT.get(line["note"], "application/json"),
        "Content-Type": PATCH.get(method, "application/json"),
        "User-Agent": "Python/3",
    } | ({"Authorization": authorization} if authorization else {})
    response = await session.request(method, path, params=params, data=line["body_sent"], headers=headers)
    await response.read()
    return response


async def prepare(
    cluster: KubernetesApi, session: aiohttp.ClientSession, line: dict[str, Any]
) -> dict[str, str] | None:
    """Bring the cluster to where the real one was, and put our own token where the real one's was recorded."""
    await replay(cluster, recording())
    cluster.store.compact(2072)
    params = dict(line["params"]) if line["params"] else None
    if "lease" in line["note"] and line["note"] != "create a lease":
        await ask(session, next(entry for entry in LINES if entry["note"] == "create a lease"), None)
    if line["note"] == "next page" and params is not None:
        first = await ask(session, next(entry for entry in LINES if entry["note"] == "list, page of 5"), {"limit": "5"})
        params["continue"] = json.loads(await first.text())["metadata"]["continue"]
    if params is not None and params.get("resourceVersion") == "4141":
        params["resourceVersion"] = str(cluster.store.version)
    return params


@pytest.mark.parametrize("line", LINES, ids=[line["note"] for line in LINES])
async def test_answers_like_the_real_api_server(line: dict[str, Any]) -> None:
    async with KubernetesApi(tokens=(TOKEN,)) as cluster, aiohttp.ClientSession(cluster.url) as session:
        response = await ask(session, line, await prepare(cluster, session, line))
        body = await response.text()

    assert response.status == line["status"]
    assert response.headers["Content-Type"] == line["headers"]["Content-Type"]
    assert response.headers.get("Retry-After") == line["headers"].get("Retry-After")
    if line["headers"]["Content-Type"] == "text/plain":
        ours = [entry.split(" ", 1) for entry in body.splitlines()]
        theirs = [entry.split(" ", 1) for entry in line["body"].splitlines()]
        assert [text for _, text in ours] == [text for _, text in theirs]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp) for stamp, _ in ours)
    elif "watch" in (line["params"] or {}):
        ours_events, theirs_events = lines_of(body), lines_of(line["body"])
        assert [event["type"] for event in ours_events] == [event["type"] for event in theirs_events]
        for our_event, their_event in zip(ours_events, theirs_events, strict=True):
            assert_same(our_event["object"], their_event["object"])
    else:
        assert_same(json.loads(body), json.loads(line["body"]))


def test_every_recorded_line_is_asked() -> None:
    assert len(LINES) == 29
    assert len({line["note"] for line in LINES}) == len(LINES)
