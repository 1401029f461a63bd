"""The served schema is the service: what it says is sent over real sockets, and what comes back is what it says."""

import copy
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import jsonschema
import msgspec
import pytest

from service.settings import Settings
from tests.service.conftest import Edge
from tests.service.http.served import Answer, Client, Served

QUESTIONS = ("auth", "routing", "retry", "outcomes")
FORMS = {
    "application/json": (msgspec.json.encode, json.loads),
    "application/msgpack": (msgspec.msgpack.encode, msgspec.msgpack.decode),
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    chosen = Settings()
    with Served(Edge(None, chosen), chosen) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with served.client() as client:
        yield client


@pytest.fixture(scope="module")
def document(client: Client) -> Any:
    return json.loads(client.ask(b"GET /schema HTTP/1.1\r\nhost: edge\r\n\r\n").body)


def send(client: Client, method: str, path: str, body: bytes = b"", *headers: str) -> Answer:
    lines = [f"{method} {path} HTTP/1.1", "host: edge", *headers, f"content-length: {len(body)}"]
    return client.ask("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def whole(document: Any, schema: Any) -> Any:
    """Return a schema with the components it refers to."""
    return {**schema, "components": document["components"]}


def described(document: Any, operation: Any, answer: Answer) -> Any:
    """Return the body of an answer, having held status, media type, headers and body to their description."""
    told = operation["responses"].get(str(answer.status))
    assert told is not None, (answer.status, answer.body)
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in told["content"], media_type
    for name, header in told.get("headers", {}).items():
        assert name in answer.headers or not header["required"], name
    read = FORMS.get(media_type, (None, json.loads))[1] if media_type != "text/plain" else bytes.decode
    value = read(answer.body)
    if media_type.endswith("json"):
        jsonschema.validate(value, whole(document, told["content"][media_type]["schema"]))
    return value


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post"}
    ]


def test_every_reading_that_is_described_answers_as_described(client: Client, document: Any) -> None:
    asked = [each for each in operations(document) if each[0] == "GET"]
    assert len(asked) >= 8
    for method, path, operation in asked:
        described(document, operation, send(client, method, path.replace("{decision_id}", "d_nobody_made")))


@pytest.mark.parametrize("media_type", FORMS)
@pytest.mark.parametrize("name", QUESTIONS)
def test_each_question_is_answered_in_every_form_that_is_described(
    client: Client, document: Any, name: str, media_type: str
) -> None:
    operation = document["paths"][f"/api/decisioning/{name}"]["post"]
    asked, answered = operation["requestBody"]["content"], operation["responses"]["200"]["content"]
    assert set(asked) == set(answered) == set(FORMS)
    body = FORMS[media_type][0](asked["application/json"]["example"])
    for accept in FORMS:
        answer = send(
            client, "POST", f"/api/decisioning/{name}", body, f"content-type: {media_type}", f"accept: {accept}"
        )
        assert answer.status == 200
        assert answer.headers["content-type"] == accept
        value = described(document, operation, answer)
        jsonschema.validate(value, whole(document, answered["application/json"]["schema"]))


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_header_that_is_described_is_understood(client: Client, document: Any, name: str) -> None:
    operation = document["paths"][f"/api/decisioning/{name}"]["post"]
    body = json.dumps(operation["requestBody"]["content"]["application/json"]["example"]).encode()
    ask = partial(send, client, "POST", f"/api/decisioning/{name}", body)
    for parameter in operation["parameters"]:
        assert parameter["in"] == "header"
        schema = parameter["schema"]
        values = [str(schema[bound]) for bound in ("minimum", "maximum") if bound in schema] or ["1"]
        for value in values:
            answer = ask(f"{parameter['name']}: {value}")
            described(document, operation, answer)
            assert answer.status == 200, (parameter["name"], value)
        if schema["type"] == "number":
            refused = ask(f"{parameter['name']}: soon")
            assert refused.status == 400
            described(document, operation, refused)
    assert "server-timing" in ask("x-pointsman-timing: 1").headers


def alternatives(document: Any, schema: Any) -> list[Any]:
    """Return the schemas of which a value has to meet one, references followed."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and "properties" not in schema:
        return [inner for each in schema["anyOf"] for inner in alternatives(document, each)]
    return [schema]


def right(schema: Any, example: Any) -> list[Any]:
    """Return values at the edges of what a schema allows."""
    if "enum" in schema:
        return list(schema["enum"])
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        return [schema[bound] for bound in ("minimum", "maximum") if bound in schema]
    if kind == "boolean":
        return [True, False]
    if kind == "null":
        return [None]
    if kind == "string" and "pattern" not in schema and "maxLength" in schema:
        return ["x" * schema["minLength"], "x" * schema["maxLength"]]
    return [] if example is None else [example]


def wrong(schema: Any) -> list[Any]:
    """Return values just beyond what a schema allows, or of another type."""
    kind = schema.get("type")
    if kind == "null":
        return []
    values: list[Any] = [{"no": "thing"}] if kind != "object" else ["x"]
    if kind in {"integer", "number"}:
        values += [schema["minimum"] - 1] if "minimum" in schema else []
        values += [schema["maximum"] + 1] if "maximum" in schema else []
        values += ["1", True]
    if kind == "integer":
        values.append(1.5)
    if kind == "boolean":
        values += [0, "true"]
    if kind == "string":
        values += [1, "", "x" * (schema.get("maxLength", 10_000) + 1)]
    if kind == "array":
        values += [1, [{"no": "thing"}]]
    return values


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_the_schema_allows_is_accepted_and_what_it_does_not_is_refused(
    client: Client, document: Any, name: str
) -> None:
    operation = document["paths"][f"/api/decisioning/{name}"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    validator = jsonschema.Draft202012Validator(whole(document, content["schema"]))
    example = content["example"]
    schema = next(each for each in alternatives(document, content["schema"]) if "properties" in each)
    tried = {True: 0, False: 0}

    def ask(value: Any) -> None:
        allowed = validator.is_valid(value)
        answer = send(client, "POST", f"/api/decisioning/{name}", json.dumps(value).encode())
        body = described(document, operation, answer)
        if allowed:
            # What a schema cannot say, it says in words; all that it does say is met.
            in_words = {"status_required", "duplicate_processor"}
            assert answer.status == 200 or body["code"] in in_words, (value, body)
        else:
            assert answer.status in {400, 422}, (value, body)
        tried[allowed] += 1

    ask({**example, "no_such_field": 1})
    for field, told in schema["properties"].items():
        less = {key: value for key, value in example.items() if key != field}
        assert field not in schema["required"] or not validator.is_valid(less)
        ask(less)
        for each in alternatives(document, told):
            for value in (*right(each, example.get(field)), *wrong(each)):
                ask({**copy.deepcopy(example), field: value})
    assert tried[True] > 20
    assert tried[False] > 20


def test_what_no_question_is_asked_with_is_described_too(client: Client, document: Any) -> None:
    operation = document["paths"]["/api/decisioning/auth"]["post"]
    body = json.dumps(operation["requestBody"]["content"]["application/json"]["example"]).encode()
    ask = partial(send, client, "POST", "/api/decisioning/auth")
    for answer, status in (
        (ask(b"{"), 400),
        (ask(body, "content-type: text/plain"), 415),
        (ask(b"[]"), 422),
    ):
        assert answer.status == status
        described(document, operation, answer)


def test_a_refusal_that_ends_the_connection_is_described_too(served: Served, document: Any) -> None:
    operation = document["paths"]["/api/decisioning/auth"]["post"]
    for headers, body, status in (((), b" " * 70_000, 413), (("x: " + "y" * 20_000,), b"{}", 431)):
        with served.client() as client:
            answer = send(client, "POST", "/api/decisioning/auth", body, *headers)
            assert answer.status == status
            described(document, operation, answer)
