"""Files over REST: streamed in, checked line by line, listed as OpenAI's client expects, named by recipes."""

import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import uvicorn

from api.app import create_app
from api.store.database import open_database
from api.store.keys import KeyRequest, KeyStore
from solon.settings import Settings
from tests.integration.buckets import bucket
from tests.integration.postgres import DATABASES, new_database
from tests.integration.service import FakeModels, service

ROWS = b'{"prompt": "Where is the harbour?"}\n{"prompt": "And the bakery?", "id": "b"}\n'
PURPOSE = {"purpose": "prompts"}


async def upload(client: httpx2.AsyncClient, content: bytes = ROWS, purpose: str = "prompts", **options: Any):
    files = {"file": ("prompts.jsonl", content)}
    return await client.post("/v1/files", data={"purpose": purpose}, files=files, **options)


async def test_a_file_is_stored_listed_read_and_deleted(tmp_path: Path):
    async with service(tmp_path) as client:
        made = (await upload(client)).json()
        assert (made["object"], made["bytes"], made["status"], made["rows"]) == ("file", len(ROWS), "processed", 2)
        assert (made["filename"], made["purpose"]) == ("prompts.jsonl", "prompts")
        assert (await client.get(f"/v1/files/{made['id']}")).json() == made
        assert (await client.get("/v1/files")).json()["data"] == [made]
        content = await client.get(f"/v1/files/{made['id']}/content")
        assert (content.content, content.headers["etag"]) == (ROWS, f'"{made["sha256"]}"')
        assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''prompts.jsonl"
        assert (await client.delete(f"/v1/files/{made['id']}")).json()["deleted"] is True
        assert (await client.get(f"/v1/files/{made['id']}")).status_code == 404
        assert (await client.get(f"/v1/files/{made['id']}/content")).status_code == 404
        assert (await client.delete(f"/v1/files/{made['id']}")).status_code == 404
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == [
        tmp_path / "artifacts" / "judgements.db"
    ]


@pytest.mark.parametrize(
    ("content", "purpose", "field", "said"),
    [
        (b'{"prompt": "a"}\n{"prompt": }\n', "prompts", "file:2", "not JSON"),
        (b'{"prompt": "a"}\n\n["a"]\n', "batch", "file:3", "not a JSON object"),
        (b'{"prompt": "a"}\n{"question": "secret"}\n', "prompts", "file:2", "has no prompt"),
        (b'{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n', "prompts", "file:2: id", "was used in line 1"),
        (b'{"prompt": "\xff"}\n', "prompts", "file:1", "not UTF-8"),
        (b"\n", "fine-tune", "file", "holds no rows"),
        (ROWS, "assistants", "purpose", "is not a purpose"),
    ],
)
async def test_a_wrong_file_is_refused_with_its_line(
    tmp_path: Path, content: bytes, purpose: str, field: str, said: str
):
    async with service(tmp_path) as client:
        answer = await upload(client, content, purpose)
        problem = answer.json()
        assert (answer.status_code, problem["field"]) == (422, field)
        assert said in problem["detail"]
        assert "secret" not in answer.text
        assert (await client.get("/v1/files")).json()["data"] == []
    assert not list((tmp_path / "artifacts" / "uploads").glob("*"))


async def test_a_file_for_anything_is_not_read(tmp_path: Path):
    async with service(tmp_path) as client:
        made = (await upload(client, bytes(range(256)), "user_data")).json()
        assert (made["rows"], made["bytes"]) == (None, 256)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_file_beyond_the_limit_is_too_large(tmp_path: Path, announced: bool):
    form = httpx2.Request("POST", "http://x", data=PURPOSE, files={"file": ("a", b"x" * 300_000)})
    body = form.read()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with service(tmp_path, None, "limits.upload_bytes=100000") as client:
        headers = {"Content-Type": form.headers["Content-Type"]}
        answer = await client.post("/v1/files", content=body if announced else chunks(), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (413, "file")
        small = await upload(client, b"x" * 100_000, "user_data")
        assert small.status_code == 200


async def test_other_bodies_keep_their_own_limit(tmp_path: Path):
    async with service(tmp_path) as client:
        answer = await client.post("/v1/jobs", content=b"x" * (5 << 20), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        large = await upload(client, b"x" * (5 << 20), "user_data")
        assert (large.status_code, large.json()["bytes"]) == (200, 5 << 20)


async def test_a_body_that_is_no_form_is_refused(tmp_path: Path):
    async with service(tmp_path) as client:
        bodies: list[dict[str, Any]] = [
            {"json": {"file": "x"}},
            {"content": b"--", "headers": {"Content-Type": "multipart/form-data"}},
            {"data": PURPOSE, "files": {"other": ("a", b"x")}},
            {"data": PURPOSE, "files": [("file", ("a", b"x")), ("file", ("b", b"x"))]},
            {"data": {**PURPOSE, "file": "no file"}, "files": {}},
        ]
        for body in bodies:
            answer = await client.post("/v1/files", **body)
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), body


async def test_a_full_disk_is_a_503_that_says_what_to_do_and_leaves_nothing(tmp_path: Path):
    async with service(tmp_path) as client:
        kept = (await upload(client)).json()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        try:
            answer = await upload(client, b"x" * 300_000, "user_data")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "make room" in answer.json()["remedy"]
        assert (await client.get("/v1/files")).json()["data"] == [kept]
        assert not list((tmp_path / "artifacts" / "uploads").glob("*"))
        assert (await upload(client, b"x" * 300_000, "user_data")).status_code == 200


async def test_the_same_key_stores_one_file_and_another_upload_with_it_is_refused(tmp_path: Path):
    async with service(tmp_path) as client:
        key = {"Idempotency-Key": "k"}
        first = (await upload(client, headers=key)).json()
        assert (await upload(client, headers=key)).json() == first
        assert (await upload(client, ROWS + ROWS, "batch", headers=key)).status_code == 422
        assert len((await client.get("/v1/files")).json()["data"]) == 1


async def test_a_name_is_shown_without_its_folders(tmp_path: Path):
    async with service(tmp_path) as client:
        for name, shown in (("../../etc/passwd", "passwd"), ("C:\\a\\b.jsonl", "b.jsonl"), ("é x.jsonl", "é x.jsonl")):
            made = await client.post("/v1/files", data=PURPOSE, files={"file": (name, ROWS)})
            assert made.json()["filename"] == shown
            content = await client.get(f"/v1/files/{made.json()['id']}/content")
            assert content.content == ROWS


async def test_a_recipe_names_an_uploaded_file_by_its_id(tmp_path: Path):
    recipe = {"name": "mine", "constitution": "civic", "policy": "starter", "judge": "starter-judge"}
    async with service(tmp_path) as client:
        file_id = (await upload(client)).json()["id"]
        other = (await upload(client, b"{}", "batch")).json()["id"]
        unknown = "file_" + "0" * 26  # of the year 1970
        for reference, status in ((file_id, 202), (other, 422), (unknown, 404), ("/etc/passwd", 422)):
            steps = [{"type": "label"}]
            body = {"recipe": {**recipe, "prompts": {"train": reference}, "steps": steps}}
            answer = await client.post("/v1/jobs", json=body)
            assert answer.status_code == status, answer.text
            if status != 202:
                assert answer.json()["field"] == "recipe.prompts.train"
            grpo = {"type": "grpo", "rewards": [{"type": "judge"}], "monitor": {"prompts": reference}}
            answer = await client.post(
                "/v1/jobs", json={"recipe": {**recipe, "judge": "starter-marker", "steps": [grpo]}}
            )
            assert answer.status_code == status, answer.text
            if status != 202:
                assert answer.json()["field"] == "recipe.steps.0.monitor.prompts"


@pytest.fixture(params=[*DATABASES, "bucket"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address and key of a server in a thread; on SQLite, on PostgreSQL, with artifacts in a bucket."""
    with pytest.MonkeyPatch.context(), bucket() as url:
        places = [f"database={new_database('sqlite' if request.param == 'bucket' else request.param, tmp_path)}"]
        places.append(f"artifacts={url if request.param == 'bucket' else tmp_path / 'artifacts'}")
        settings = Settings.load(overrides=places, environment={})
        if request.param == "bucket":
            settings = settings.model_copy(update={"artifacts": tmp_path / "artifacts"})
        app = create_app(settings, models=FakeModels())
        running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=running.run)
        thread.start()
        while not running.started:
            thread.join(0.01)
        (listening,) = running.servers[0].sockets
        key = KeyStore(open_database(settings.database)).create(KeyRequest("ada", ["read", "label"])).key
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", key
        running.should_exit = True
        thread.join()


def test_openais_client_uploads_lists_pages_reads_and_deletes(server: tuple[str, str]):
    with openai.OpenAI(base_url=server[0], api_key=server[1]) as client:
        made = [client.files.create(file=(f"{n}.jsonl", ROWS), purpose="evals") for n in range(5)]
        assert [file.id for file in client.files.list(limit=2, order="asc")] == [file.id for file in made]
        assert [file.id for file in client.files.list(limit=2, purpose="evals")] == [file.id for file in made[::-1]]
        assert list(client.files.list(purpose="batch")) == []
        found = client.files.retrieve(made[0].id)
        assert (found.filename, found.bytes, found.status, found.purpose) == (
            "0.jsonl",
            len(ROWS),
            "processed",
            "evals",
        )
        assert client.files.content(made[0].id).read() == ROWS
        assert client.files.delete(made[0].id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(made[0].id)
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            client.files.create(file=("bad.jsonl", b"{"), purpose="fine-tune")
        problem = caught.value.response.json()
        assert (problem["detail"], problem["field"]) == ("not JSON", "file:1")
