"""Log lines as an operator's collector gets them."""

import io
import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from dbos._logger import init_logger
from pydantic import BaseModel

import api
from api.logs import describe, logger, set_up
from api.redaction import Secrets
from api.request_ids import REQUEST_ID
from solon.errors import Failed, InvalidInput


@pytest.fixture
def lines() -> Generator[io.StringIO]:
    """What is written; logging is as before afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    set_up(Secrets(["kanarie-known"]), "info", "json", stream)
    yield stream
    root.handlers[:], root.level = before[0], before[1]


def last(lines: io.StringIO) -> dict[str, Any]:
    return json.loads(lines.getvalue().splitlines()[-1])


def test_a_line_is_one_json_object_with_level_logger_time_and_request_id(lines: io.StringIO) -> None:
    token = REQUEST_ID.set("req_1")
    logger("solon.test").info("labelled", pairs=3)
    REQUEST_ID.reset(token)

    line = last(lines)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "labelled",
        "pairs": 3,
        "level": "info",
        "logger": "solon.test",
        "request_id": "req_1",
    }


def test_what_libraries_log_is_redacted_too(lines: io.StringIO) -> None:
    logging.getLogger("some.library").warning("cannot reach %s", "http://user:kanarie-url@host")
    logging.getLogger("some.library").warning("with kanarie-known in it")

    assert "kanarie" not in lines.getvalue()
    assert len(lines.getvalue().splitlines()) == 2


@pytest.fixture
def dbos_as_before() -> Generator[logging.Logger]:
    """DBOS's logger; it is as before afterwards."""
    found = logging.getLogger("dbos")
    before = (found.handlers[:], found.propagate)
    yield found
    found.handlers[:], found.propagate = before


@pytest.mark.parametrize("loaded_first", [True, False])
def test_what_dbos_logs_is_one_redacted_json_line(
    loaded_first: bool, dbos_as_before: logging.Logger, lines: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    dbos_as_before.handlers.clear()
    if loaded_first:
        init_logger()
        set_up(Secrets(["kanarie-known"]), "info", "json", lines)
    else:
        set_up(Secrets(["kanarie-known"]), "info", "json", lines)
        init_logger()
    dbos_as_before.warning("lost the connection\nof kanarie-known")

    (line,) = lines.getvalue().splitlines()
    assert (json.loads(line)["logger"], "kanarie" in line, capsys.readouterr().err) == ("dbos", False, "")


def test_no_module_logs_past_the_redaction() -> None:
    """structlog's own loggers print to standard output; `api.logs.logger` is ours."""
    modules = Path(api.__file__).parent.rglob("*.py")
    assert [each.name for each in modules if "import structlog" in each.read_text()] == ["logs.py"]


def test_texts_are_not_logged(lines: io.StringIO) -> None:
    logger("solon.test").info("judged", prompt="kanarie", completion="kanarie", messages=["kanarie"])

    assert "kanarie" not in lines.getvalue()


def test_an_error_is_told_by_class_and_place_and_not_by_values(lines: io.StringIO) -> None:
    class Body(BaseModel):
        number: int

    def read(secret: str) -> None:
        Body.model_validate({"number": secret})

    try:
        read("kanarie")
    except ValueError:
        logger("solon.test").exception("failed")

    line = last(lines)
    assert "kanarie" not in lines.getvalue()
    assert line["error"] == "ValidationError in Body"
    assert any(place.endswith(" read") for place in line["where"])


def test_messages_are_told_of_our_own_errors_unless_they_quote_the_caller() -> None:
    assert describe(Failed("the disk is full")) == "Failed: the disk is full"
    assert describe(InvalidInput("no such scope 'kanarie'")) == "InvalidInput"
    assert describe(KeyError("kanarie")) == "KeyError"
