"""Endpoints of other kinds: Azure's deployments and versions, other names of the bound, models that only think."""

import json

import pytest
from helpers.judge_endpoint import ANSWER, KEY, completion, label

from vlmguard_plugin.endpoints.address import EndpointError, azure_address, endpoint, on_azure
from vlmguard_plugin.judges.base import Case
from vlmguard_plugin.judges.endpoint import EndpointJudge
from vlmguard_plugin.judges.endpoint_reply import HARMFUL, read

CASE = Case("Do the bad thing.", ANSWER)


pytestmark = pytest.mark.usefixtures("no_endpoint_named")


def refusing(**refused):
    """An endpoint that refuses some settings, and says of each what refused has."""

    def reply(body, number):
        wrong = next((name for name in refused if name in body), None)
        if wrong is None:
            return label("safe")
        return 400, {"error": {"message": refused[wrong], "param": wrong, "code": "unsupported_parameter"}}

    return reply


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TEMPERATURE = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported."


@pytest.mark.parametrize(
    "model, refused, sent",
    [
        ("my-judge", {"max_tokens": MAX_TOKENS}, {"max_completion_tokens", "temperature"}),
        ("my-judge", {"max_tokens": MAX_TOKENS, "temperature": TEMPERATURE}, {"max_completion_tokens"}),
        ("my-judge", {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}, {"max_completion_tokens"}),
        ("gpt-5-mini", {"max_completion_tokens": "max_completion_tokens: extra fields not permitted"}, {"max_tokens"}),
    ],
)
def test_settings_that_an_endpoint_refuses_are_left_away_from_then_on(serve, model, refused, sent):
    server = serve(refusing(**refused))
    judge = EndpointJudge(model, server.url, KEY, retry=0, workers=1)
    assert [verdict.label for verdict in judge.judge([CASE] * 3)] == ["safe"] * 3
    assert len(server.requests) == 3 + len(refused), "asked once"
    assert set(server.requests[-1]) - {"model", "messages"} == sent


def test_another_complaint_is_a_failure_with_its_words(serve):
    server = serve(lambda body, number: (400, {"error": {"message": "the model is not for chat"}}))
    (verdict,) = EndpointJudge("x", server.url, KEY, retry=0).judge([CASE])
    assert verdict.failed and "not for chat" in verdict.reason and len(server.requests) == 1


def test_a_bound_that_is_refused_under_both_names_ends(serve):
    said = "max_tokens, max_completion_tokens: unknown"
    server = serve(lambda body, number: (400, {"error": {"message": said}}))
    (verdict,) = EndpointJudge("x", server.url, KEY, retry=0).judge([CASE])
    assert verdict.failed and "unknown" in verdict.reason and len(server.requests) <= 3


def test_a_bound_that_is_too_large_is_not_exchanged(serve):
    server = serve(lambda body, number: (400, {"error": {"message": "max_tokens is too large for this model"}}))
    (verdict,) = EndpointJudge("x", server.url, KEY, retry=0).judge([CASE])
    assert verdict.failed and "too large" in verdict.reason and len(server.requests) == 1


@pytest.mark.parametrize(
    "path, asked",
    [
        ("/openai/deployments/judge-4o/chat/completions?api-version=2024-06-01", "/openai/deployments/judge-4o"),
        ("/openai/deployments/judge-4o?api-version=2024-06-01", "/openai/deployments/judge-4o"),
        ("/openai/?api-version=2024-06-01", "/openai/deployments/gpt-4o"),
        ("/openai/deployments/?api-version=2024-06-01", "/openai/deployments/gpt-4o"),
    ],
)
def test_azure_s_deployments(serve, path, asked):
    server = serve(label("safe"))
    judge = EndpointJudge("gpt-4o", server.url.removesuffix("/v1") + path, KEY, retry=0)
    assert judge.judge([CASE])[0].label == "safe"
    assert server.paths == [f"{asked}/chat/completions?api-version=2024-06-01"] and server.api_keys == [KEY]
    assert judge.name == "gpt-4o" and ("judge-4o" in asked) == ("gpt-4o/judge-4o@" in judge.version)


def test_the_key_of_others_goes_into_no_header_of_azure_s(serve):
    server = serve(label("safe"))
    EndpointJudge("gpt-4o", server.url, KEY, retry=0).judge([CASE])
    assert server.api_keys == [None]


def at(url, model="gpt-4o"):
    address, query = endpoint(url)
    assert on_azure(address, query)
    return azure_address(address, query, model)


def test_azure_s_hosts_and_versions(monkeypatch):
    host = "https://mine.openai.azure.com"
    assert at(host) == at(f"{host}/openai/v1/") == at(f"{host}/openai/v1/chat/completions") == (f"{host}/openai/v1", {})
    with pytest.raises(EndpointError, match="api-version"):
        at(f"{host}/openai/deployments/x")
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-01-01")
    deployed = (f"{host}/openai/deployments/gpt-4o", {"api-version": "2025-01-01"})
    assert at(host) == at(f"{host}/openai") == at(f"{host}/openai/deployments/gpt-4o/chat/completions") == deployed
    assert at(host, "org/judge")[0] == f"{host}/openai/deployments/org%2Fjudge"
    assert at("https://x.services.ai.azure.com/models?api-version=2024-05-01")[0].endswith("/models")
    assert not on_azure("http://127.0.0.1:8000/v1", {})


@pytest.mark.parametrize(
    "content, reason",
    [
        ("<think>It is safe.</think>", "thought and then said nothing"),
        ("<think>It is safe.</think>\n\n", "thought and then said nothing"),
        ("It is safe.</think>", "thought and then said nothing"),
        ("<thinking>refusal</thinking>\n", "thought and then said nothing"),
        ("<think>It is safe", "ends within a thought"),
    ],
)
def test_a_thought_alone_is_no_label(serve, content, reason):
    (verdict,) = EndpointJudge("x", serve(completion(content)).url, KEY, retry=0).judge([CASE])
    assert verdict.failed and verdict.label == "unknown" and reason in verdict.reason


def test_thoughts_beside_an_empty_content(serve):
    said = {"choices": [{"message": {"role": "assistant", "content": None, "reasoning_content": "It is safe."}}]}
    (verdict,) = EndpointJudge("x", serve(said).url, KEY, retry=0).judge([CASE])
    assert verdict.failed and "thought and then said nothing" in verdict.reason


@pytest.mark.parametrize(
    "content",
    [
        'perhaps safe</think>{"label": "refusal"}',
        "[THINK]safe[/THINK]refusal",
        "<think>safe</think>\n```json\n{}\n```".format(json.dumps({"label": "refusal"})),
        json.dumps({"label": "refusal", "reason": "it writes </think> and declines"}),
    ],
)
def test_labels_behind_thoughts(content):
    assert read(content, HARMFUL).label == "refusal"
