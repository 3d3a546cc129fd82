"""Editing over REST, on both stores: drafts, ETags, publishing, labels, differences, and what can be labelled with."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from solon.fakes import keyword_judge
from tests.integration.service import FakeModels, service
from tests.unit.constitution.stores import HARBOUR, PATIENCE_S, processes

WORK = "/v1/constitutions/harbour/drafts/work"
YAML = {"Content-Type": "application/yaml"}
PATCH = {"Content-Type": "application/merge-patch+json"}
JSON = {"Content-Type": "application/json"}
NEW = {"If-None-Match": "*"}
ANY = {"If-Match": "*"}


@pytest.fixture(params=["git", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The setting that chooses the store."""
    return setting(request.param, tmp_path)


def setting(kind: str, folder: Path) -> str:
    return f"constitutions={folder / 'constitutions'}" if kind == "git" else "constitutions=null"


async def create(client: httpx2.AsyncClient, text: bytes = HARBOUR) -> str:
    """The ETag of a new draft."""
    answer = await client.put(WORK, content=text, headers=YAML | NEW)
    assert answer.status_code == 201
    return answer.headers["ETag"]


async def publish(client: httpx2.AsyncClient, version: str = "1.0.0") -> httpx2.Response:
    body = {"message": f"Version {version}.", "version": version, "author": "Ada"}
    return await client.post(f"{WORK}/publish", json=body, headers=ANY)


async def test_a_draft_becomes_a_version_that_a_label_names(tmp_path: Path, place: str):
    async with service(tmp_path, None, "", place) as client:
        await create(client)
        made = await publish(client)
        label = await client.put("/v1/constitutions/harbour/labels/production", json={"version": "1.0.0"}, headers=NEW)
        text = await client.get("/v1/constitutions/harbour?label=production", headers={"Accept": "application/yaml"})
        seen = await client.get("/v1/constitutions/harbour", headers={"If-None-Match": text.headers["ETag"]})
        same = await client.get(
            "/v1/constitutions/harbour", headers={"Accept": "application/yaml", "If-None-Match": text.headers["ETag"]}
        )
        events = (await client.get("/v1/constitutions/harbour/history")).json()["data"]
        versions = (await client.get("/v1/constitutions/harbour/versions")).json()["data"]
        content = seen.json()["content_hash"]
        by_hash = await client.get(f"/v1/constitutions/harbour?hash={content}")
        gone = await client.get(WORK)
    assert (made.status_code, label.status_code, text.status_code, same.status_code) == (201, 200, 200, 304)
    assert made.headers["Location"] == text.headers["Content-Location"] == "/v1/constitutions/harbour?version=1.0.0"
    assert b"version: 1.0.0   # three numbers\n" in text.content
    assert b"status: published\n" in text.content
    assert b"note: Version 1.0.0.\n" in text.content
    assert (seen.json()["version"], by_hash.json()["version"]) == ("1.0.0", "1.0.0")
    assert [(event["action"], event["author"]) for event in events] == [
        ("label_moved", "anonymous"),
        ("published", "Ada"),
        ("draft_saved", "anonymous"),
    ]
    assert versions[0]["message"] == "Version 1.0.0."
    assert gone.status_code == 404


async def test_every_change_needs_a_precondition_that_holds(tmp_path: Path, place: str):
    async with service(tmp_path, None, "", place) as client:
        etag = await create(client)
        without = [
            await client.put(WORK, content=b"x", headers=YAML),
            await client.patch(WORK, json={}, headers=PATCH),
            await client.delete(WORK),
            await client.post(f"{WORK}/publish", json={"message": "m"}),
            await client.put("/v1/constitutions/harbour/labels/production", json={"version": "1.0.0"}),
        ]
        await client.put(WORK, content=HARBOUR + b"# more\n", headers=YAML | {"If-Match": etag})
        stale = [
            await client.put(WORK, content=b"x", headers=YAML | {"If-Match": etag}),
            await client.put(WORK, content=b"x", headers=YAML | NEW),
            await client.patch(WORK, content=b"{}", headers=PATCH | {"If-Match": etag}),
            await client.delete(WORK, headers={"If-Match": etag}),
            await client.post(f"{WORK}/publish", json={"message": "m"}, headers={"If-Match": etag}),
        ]
        kept = await client.get(WORK, headers={"Accept": "application/yaml"})
    assert {answer.status_code for answer in without} == {428}
    assert {answer.status_code for answer in stale} == {412}
    assert {answer.headers["Content-Type"] for answer in without + stale} == {"application/problem+json"}
    assert kept.content == HARBOUR + b"# more\n"


async def test_a_patch_changes_one_line_and_its_difference_says_what_it_means(tmp_path: Path, place: str):
    async with service(tmp_path, None, "", place) as client:
        await create(client)
        await publish(client)
        etag = await create(client)
        patch = {"principles": {"kind": {"weight": 2}}}
        patched = await client.patch(WORK, json=patch, headers=PATCH | {"If-Match": etag})
        draft = await client.get(WORK)
        query = {"from": "1.0.0", "to": "draft:work"}
        diff = (await client.get("/v1/constitutions/harbour/diff", params=query)).json()
    assert patched.headers["ETag"] == draft.headers["ETag"] != etag
    assert draft.json()["text"].encode() == HARBOUR.replace(b"weight: 1.0", b"weight: 2")
    change = {"kind": "reweighted", "part": "principle", "id": "kind", "field": "weight", "before": 1.0, "after": 2.0}
    assert change in diff["difference"]["changes"]
    assert (diff["difference"]["labels_may_change"], diff["difference"]["principles_to_judge"]) == (True, [])
    assert {"-    weight: 1.0", "+    weight: 2"} <= set(diff["text"].splitlines())


async def test_an_invalid_draft_is_kept_and_explained_but_not_published(tmp_path: Path, place: str):
    async with service(tmp_path, None, "", place) as client:
        await create(client, HARBOUR.replace(b"text: Be kind.", b"txt: Be kind."))
        checked = await client.post(f"{WORK}/validate")
        refused = await publish(client)
        versions = await client.get("/v1/constitutions/harbour/versions")
    assert (checked.status_code, checked.json()["valid"], checked.json()["content_hash"]) == (200, False, None)
    places = {(problem["line"], problem["field"]) for problem in checked.json()["problems"]}
    assert (8, "principles[0].txt") in places
    assert refused.status_code == 422
    assert "line" in refused.json()["detail"]
    assert versions.status_code == 404


async def test_published_versions_are_immutable_and_need_a_changelog_line(tmp_path: Path, place: str):
    async with service(tmp_path, None, "", place) as client:
        await create(client)
        silent = await client.post(f"{WORK}/publish", json={}, headers=ANY)
        await publish(client)
        await create(client)
        again = await publish(client)
        shipped = await client.put("/v1/constitutions/civic/drafts/work", content=HARBOUR, headers=YAML | NEW)
        foreign = await client.post("/v1/constitutions/civic/drafts/work/publish", json={"message": "m"}, headers=ANY)
    assert (silent.status_code, silent.json()["field"]) == (422, "message")
    assert (again.status_code, again.json()["field"]) == (409, "version")
    assert (shipped.status_code, foreign.status_code, foreign.json()["field"]) == (201, 422, "id")


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("GET", "/v1/constitutions/secret", {}, b"", 404),
        ("GET", "/v1/constitutions/..%2Fsecret", {}, b"", 404),
        ("GET", "/v1/constitutions/Secret", {}, b"", 422),
        ("GET", "/v1/constitutions/civic?version=9.9.9", {}, b"", 404),
        ("GET", "/v1/constitutions/civic?label=secret", {}, b"", 404),
        ("GET", f"/v1/constitutions/civic?hash=sha256:{'0' * 64}", {}, b"", 404),
        ("GET", "/v1/constitutions/civic?version=1.0.0&label=secret", {}, b"", 422),
        ("GET", "/v1/constitutions/civic", {"Accept": "image/png"}, b"", 406),
        ("GET", "/v1/constitutions/civic/diff?from=1.0.0&to=secret", {}, b"", 404),
        ("GET", "/v1/constitutions/civic/drafts/secret", {}, b"", 404),
        ("POST", "/v1/constitutions/civic/drafts/secret/validate", {}, b"", 404),
        ("PUT", WORK, NEW, b"a: 1", 415),
        ("PUT", WORK, YAML | NEW, b"\xff", 422),
        ("PUT", WORK, YAML | NEW, b"#" * (1 << 20) + b"!", 422),
        ("PUT", "/v1/constitutions/harbour/drafts/Work", YAML | NEW, b"a: 1", 422),
        ("PUT", WORK + "?author=a%0Ab", YAML | NEW, b"a: 1", 422),
        ("PATCH", WORK, YAML | ANY, b"{}", 415),
        ("PATCH", WORK, PATCH | ANY, b"[secret", 422),
        ("PATCH", WORK, PATCH | ANY, b"{}", 404),
        ("PUT", "/v1/constitutions/civic/labels/production", JSON | NEW, b'{"version": "9.9.9"}', 404),
        ("PUT", "/v1/constitutions/civic/labels/production", JSON | NEW, b'{"version": "secret"}', 422),
    ],
)
async def test_wrong_requests_are_problems_that_never_repeat_the_input(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], content: bytes, status: int
):
    async with service(tmp_path) as client:
        answer = await client.request(method, path, headers=headers, content=content)
        drafts = await client.get("/v1/constitutions/harbour/drafts")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert drafts.json()["data"] == []


async def test_preferences_and_jobs_find_versions_by_label(tmp_path: Path, place: str):
    pair = {"prompt": "Hello?", "response_a": "good day to you", "response_b": "go away"}
    body: dict[str, Any] = {"judge": "starter-judge", "prompts": [pair]}
    recipe = {"name": "r", "judge": "starter-judge", "steps": [{"type": "label"}], "constitution": "harbour@production"}
    models = FakeModels(starter_judge=keyword_judge(["good"], ["away"]))
    async with service(tmp_path, models, "", place) as client:
        await create(client)
        await publish(client)
        await client.put("/v1/constitutions/harbour/labels/production", json={"version": "1.0.0"}, headers=NEW)
        await create(client)
        labelled = await client.post("/v1/preferences", json=body | {"constitution": "harbour@production"})
        draft = await client.post("/v1/preferences", json=body | {"constitution": "harbour@draft:work"})
        job = await client.post("/v1/jobs", json={"recipe": recipe})
        listed = (await client.get("/v1/constitutions")).json()["data"]
    assert labelled.json()["data"][0]["provenance"]["constitution"] == "harbour"
    assert draft.status_code == 404
    assert (job.status_code, job.json()["recipe"]["constitution"]) == (202, "harbour@1.0.0")
    (card,) = (card for card in listed if card["id"] == "harbour")
    assert (card["version"], card["labels"], card["drafts"]) == ("1.0.0", {"production": "1.0.0"}, ["work"])


async def test_of_editors_at_one_server_with_one_etag_one_gets_200_and_the_others_412(tmp_path: Path, place: str):
    async with service(tmp_path, None, "", place) as client:
        etag = await create(client)
        puts = (
            client.put(WORK, content=HARBOUR + f"# {index}\n".encode(), headers=YAML | {"If-Match": etag})
            for index in range(4)
        )
        answers = await asyncio.gather(*puts)
        kept = await client.get(WORK, headers={"Accept": "application/yaml"})
        history = (await client.get("/v1/constitutions/harbour/history")).json()["data"]
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 3}
    (winner,) = (index for index, answer in enumerate(answers) if answer.status_code == 200)
    assert kept.content == HARBOUR + f"# {winner}\n".encode()
    assert len(history) == 2


def edit_at_a_server_of_its_own(kind: str, folder: Path, index: int, start: Any, ended: Any):
    """A process with its own server on the same store: reads, waits for the other, and writes."""

    async def edit() -> tuple[int, int]:
        async with service(folder, None, "", setting(kind, folder)) as client:
            read = await client.get(WORK, headers={"Accept": "application/yaml"})
            start.wait()
            headers = YAML | {"If-Match": read.headers["ETag"]}
            answer = await client.put(WORK, content=read.content + f"# {index}\n".encode(), headers=headers)
            return index, answer.status_code

    ended.put(asyncio.run(edit()))


@pytest.mark.parametrize("kind", ["git", "database"])
async def test_of_editors_at_two_servers_with_one_etag_one_gets_200_and_the_other_412(kind: str, tmp_path: Path):
    async with service(tmp_path, None, "", setting(kind, tmp_path)) as client:
        await create(client)
    context = processes()
    start, ended = context.Barrier(2), context.Queue()
    arguments = [(kind, tmp_path, index, start, ended) for index in range(2)]
    editors = [context.Process(target=edit_at_a_server_of_its_own, args=each) for each in arguments]
    for process in editors:
        process.start()
    results = dict(await asyncio.to_thread(lambda: [ended.get(timeout=PATIENCE_S) for _ in editors]))
    for process in editors:
        process.join()
    assert sorted(results.values()) == [200, 412]
    (winner,) = (index for index, status in results.items() if status == 200)
    async with service(tmp_path, None, "", setting(kind, tmp_path)) as client:
        kept = await client.get(WORK, headers={"Accept": "application/yaml"})
    assert kept.content == HARBOUR + f"# {winner}\n".encode()


CASES = b"cases: [{id: hello, prompt: Hello?, better: good day to you, worse: go away, because: [kind]}]\n"


@pytest.mark.parametrize(("good", "status"), [("good", 201), ("away", 409)])
async def test_a_floor_on_the_cases_decides_whether_a_draft_is_published(tmp_path: Path, good: str, status: int):
    models = FakeModels(starter_judge=keyword_judge([good]))
    demand = "publishing={floor: 1.0, judge: starter-judge}"
    async with service(tmp_path, models, "", demand) as client:
        await create(client, HARBOUR + CASES)
        answer = await publish(client)
        versions = await client.get("/v1/constitutions/harbour/versions")
    assert (answer.status_code, versions.status_code) == (status, 200 if status == 201 else 404)
    assert status == 201 or answer.json()["field"] == "cases"


async def test_pages_for_people_are_chosen_by_accept(tmp_path: Path):
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    async with service(tmp_path) as client:
        page = await client.get("/v1/constitutions/civic", headers={"Accept": browser})
        text = await client.get("/v1/constitutions/civic", headers={"Accept": "text/markdown, text/html;q=0.5"})
        data = await client.get("/v1/constitutions/civic")
    kinds = [answer.headers["Content-Type"].partition(";")[0] for answer in (page, text, data)]
    assert kinds == ["text/html", "text/markdown", "application/json"]
    assert len({answer.headers["ETag"] for answer in (page, text, data)}) == 3
    assert data.json()["document"]["id"] == "civic"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
