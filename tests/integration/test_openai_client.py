"""The OpenAI client pointed at the service: models and files are listed, jobs are paged through, errors are its own."""

from pathlib import Path

import httpx2
import openai
import pytest

from api.app import create_app
from solon.fakes import echo_policy
from tests.integration.service import FakeModels, settings_in

RECIPE = {"name": "r", "constitution": "civic", "judge": "starter-judge", "steps": [{"type": "label"}, {"type": "dpo"}]}


async def test_a_fresh_service_takes_the_key_that_an_openai_client_always_sends(tmp_path: Path):
    app = create_app(settings_in(tmp_path), models=FakeModels())
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    address = "http://127.0.0.1/v1"
    async with app.router.lifespan_context(app):
        made = [
            (await http.post(f"{address}/jobs", json={"recipe": RECIPE, "metadata": {"team": team}})).json()["id"]
            for team in ("red", "blue")
        ]
        client = openai.AsyncOpenAI(base_url=address, api_key="none", http_client=http, max_retries=0)
        assert [job.id async for job in client.fine_tuning.jobs.list(metadata={"team": "red"})] == [made[0]]
        both = await http.get(f"{address}/jobs", params={"metadata[team]": "blue", "metadata": "team=blue"})
        assert [job["id"] for job in both.json()["data"]] == [made[1]]
        await http.post(f"{address}/keys", json={"name": "first", "scopes": ["read"]})
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
        await client.close()


async def test_the_openai_client_lists_models_and_files_and_pages_through_jobs(tmp_path: Path):
    app = create_app(settings_in(tmp_path), models=FakeModels(starter=echo_policy()))
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    address = "http://127.0.0.1/v1"
    async with app.router.lifespan_context(app):
        made = [
            (await http.post(f"{address}/jobs", json={"recipe": RECIPE | {"seed": seed}})).json()["id"]
            for seed in range(5)
        ]
        key = (await http.post(f"{address}/keys", json={"name": "sdk", "scopes": ["read", "label"]})).json()["key"]
        client = openai.AsyncOpenAI(base_url=address, api_key=key, http_client=http, max_retries=0)
        models = [model async for model in await client.models.list()]
        registered = sorted(settings_in(tmp_path).models)
        assert [(each.id, each.object, each.owned_by) for each in models] == [
            (name, "model", "operator") for name in registered
        ]
        assert (await client.models.retrieve("starter")).id == "starter"
        seen = [job async for job in client.fine_tuning.jobs.list(limit=2)]
        assert [job.id for job in seen] == made[::-1]
        assert {(job.status, job.model, job.object) for job in seen} == {("queued", "starter", "fine_tuning.job")}
        job = await client.fine_tuning.jobs.retrieve(made[0])
        assert (job.training_file, job.seed, job.hyperparameters.to_dict()["type"]) == ("builtin:agora/train", 0, "dpo")
        row = b'{"prompt": "Hello?"}\n'
        sent = await client.files.create(file=("rows.jsonl", row), purpose="prompts")  # type: ignore[arg-type]
        assert [file.id async for file in client.files.list()] == [sent.id]
        with pytest.raises(openai.NotFoundError, match="404"):
            await client.models.retrieve("nobody")
        with pytest.raises(openai.UnprocessableEntityError):
            await client.fine_tuning.jobs.list(limit=1000)
        await client.close()
