"""The parts of guards in vLLM that need no vLLM: whose tokens are edited when, and what an engine may be asked for."""

import pytest
import torch
from helpers.guard_rows import HABITS, editing_guards, other_guards, settings_with
from transformers import GenerationConfig

import vlmguard_plugin as vg
from vlmguard_plugin.engines.vllm.asked import Asked, asked_of
from vlmguard_plugin.engines.vllm.configuration import check_served, edits_of
from vlmguard_plugin.engines.vllm.edited_requests import EditedRequests, Stream
from vlmguard_plugin.engines.vllm.flattened import FlatBatch, Part
from vlmguard_plugin.engines.vllm.options import checked_options
from vlmguard_plugin.engines.vllm.per_request import PerRequest, check_asked
from vlmguard_plugin.engines.vllm.sampling import sampling_of
from vlmguard_plugin.guards.core.representation import AddVectors
from vlmguard_plugin.steering.edit import POSITIONS, Edits, Prompts

CPU = torch.device("cpu")


def part(start, tokens, position, prompt, request="a", place=None):
    return Part(request, start, tokens, position, prompt, False, place)


def acts(positions, position, prompt):
    """Whether edits act on the token at a position of a request, by the words of steering.edit."""
    return {
        "last": position == prompt - 1,
        "prompt": position < prompt,
        "generated": position >= prompt,
        "all": True,
        "every_step": position >= prompt - 1,
    }[positions]


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_tokens_of_a_pass_that_are_edited(positions):
    for prompt in (1, 4):
        for position in range(7):
            for tokens in range(1, 7):
                own = part(10, tokens, position, prompt)
                wanted = [10 + i for i in range(tokens) if acts(positions, position + i, prompt)]
                assert list(own.edited(positions)) == wanted
                inside = position <= prompt - 1 < position + tokens
                assert own.last == (10 + prompt - 1 - position if inside else None)


class Reading:
    """An edit that adds what it has read at the last prompt token."""

    def decide(self, last, prompts):
        return last

    def apply(self, hidden, decision):
        return hidden + decision


def passed(requests, parts, hidden, residual=None):
    """Halves of the stream behind layer 0 after a pass."""
    batch = FlatBatch(parts, CPU)
    halves = hidden.clone(), None if residual is None else residual.clone()
    requests.begin_pass(batch)
    requests.after_layer(0, batch, Stream(*halves))
    requests.end_pass()
    return halves


def test_a_decision_is_kept_until_the_request_ends_and_others_stay_to_the_bit():
    requests = EditedRequests(Edits({0: Reading()}, "generated"), [0], CPU)
    prompts = torch.randn(5, 2)
    halves = passed(requests, [part(0, 2, 0, 2, "a"), part(2, 3, 0, 3, "b")], prompts)
    assert torch.equal(halves[0], prompts)  # nothing is generated yet
    hidden, residual = torch.randn(5, 2), torch.randn(5, 2)
    new = [part(0, 1, 3, 3, "b"), part(1, 3, 0, 3, "c"), part(4, 1, 2, 2, "a")]
    edited, rest = passed(requests, new, hidden, residual)
    for token, last in ((0, prompts[4]), (4, prompts[1])):
        assert torch.allclose(edited[token] + rest[token], hidden[token] + residual[token] + last)
    assert torch.equal(edited[1:4], hidden[1:4]) and torch.equal(rest[1:4], residual[1:4])
    requests.forget(["a"])
    with pytest.raises(RuntimeError, match="request a decodes, but its prompt was not heard"):
        passed(requests, [part(0, 1, 3, 2, "a")], hidden[:1])


def test_a_prompt_in_pieces_waits_for_its_end_or_is_refused():
    pieces = [part(0, 2, 0, 3), part(0, 1, 2, 3)], torch.randn(2, 2), torch.randn(1, 2)
    requests = EditedRequests(Edits({0: Reading()}, "last"), [0], CPU)
    assert torch.equal(passed(requests, pieces[0][:1], pieces[1])[0], pieces[1])
    assert torch.allclose(passed(requests, pieces[0][1:], pieces[2])[0], 2 * pieces[2])
    for positions in ("prompt", "all"):
        requests = EditedRequests(Edits({0: Reading()}, positions), [0], CPU)
        with pytest.raises(RuntimeError, match="a prompt of 3 tokens is read in pieces .2 from 0."):
            passed(requests, pieces[0][:1], pieces[1])


def test_a_decision_by_another_stages_layer_is_refused():
    edits = Edits({3: Reading()}, "last", watched=(1,))
    with pytest.raises(ValueError, match="layers \\[3\\] are edited by what layers \\[1\\] say"):
        EditedRequests(edits, [2, 3], CPU)
    assert not EditedRequests(edits, [0, 1], CPU).edits


def test_each_query_gets_its_own_edit_whatever_the_order():
    vectors = torch.arange(6.0).reshape(3, 2)
    requests = EditedRequests(Edits({0: AddVectors(vectors, per_query=True)}, "last"), [0], CPU)
    hidden = torch.zeros(2, 2)
    edited, _ = passed(requests, [part(0, 1, 0, 1, "x", 2), part(1, 1, 0, 1, "y", 0)], hidden)
    assert torch.equal(edited, vectors[[2, 0]])
    with pytest.raises(ValueError, match="edits were made for 3 queries but query 3 is answered"):
        Prompts(1, None, places=(3,)).repeat(vectors)


@pytest.mark.parametrize(
    "config", [{"vlmguard": "x"}, {"vlmguard": {}}, {"vlmguard": None}, {"vlmguard": {"guard": 3}}]
)
def test_what_asks_for_a_guard_and_names_none_is_refused(config):
    with pytest.raises(ValueError, match='give {"guard": "FOLDER"}'):
        asked_of(config)


@pytest.mark.parametrize("name", ["vlm_guard", "VLMGuard", "vlmguard_plugin", "vlm-guard ", "guard", "vlmguard_dir"])
def test_a_key_that_vllm_would_pass_over_is_refused(name):
    with pytest.raises(ValueError, match="a guard is asked for as 'vlmguard', in these letters"):
        asked_of({name: {"guard": "folder"}})


def test_what_an_engine_is_asked_for(monkeypatch):
    monkeypatch.delenv("VLMGUARD_VLLM_GUARD", raising=False)
    assert asked_of(None) is None and asked_of({}) is None
    for asked in (Asked(None), Asked("folder", {"alpha": 1}), Asked("folder", per_request=True)):
        assert asked_of({"vlmguard": asked.as_config()}) == asked
    for wrong in ({"setting": {}}, {"per_request": "yes"}, {"settings": []}, {"per_request": 1}):
        with pytest.raises(ValueError, match="it takes guard, settings and per_request alone"):
            asked_of({"vlmguard": {"guard": "folder", **wrong}})
    monkeypatch.setenv("VLMGUARD_VLLM_GUARD", "elsewhere")
    assert asked_of(None) == Asked("elsewhere") and asked_of({"vlmguard": {"subject": True}}) == Asked(None)


def test_a_guard_is_the_same_for_all_requests_unless_the_server_says_otherwise(subject, anchors, tmp_path):
    vg.build_guard("vlm_guard", layers=[1], alpha=0.5).fit(subject, anchors).save(tmp_path)
    with pytest.raises(ValueError, match="vlmguard is 'off', but this server has one guard for all requests"):
        check_asked(Asked(str(tmp_path)), "off")
    for wanted in ("off", 0.25):
        check_asked(Asked(str(tmp_path), per_request=True), wanted)
    with pytest.raises(ValueError, match="may be asked for 0 to 0.3"):
        check_asked(Asked(str(tmp_path), {"alpha": 0.3}, per_request=True), 0.4)


def test_requests_are_edited_as_each_has_asked_and_nothing_is_kept_of_those_that_ended(subject, anchors):
    guard = vg.build_guard("refusal_direction", layers=[0], positions="all", alpha=0.5).fit(subject, anchors)

    def in_place(edits):
        return [EditedRequests(one, [0], CPU) for one in edits]

    own, per_request = in_place(edits_of(guard, subject.num_layers)), PerRequest(in_place)
    first = part(0, 2, 0, 2, "own")
    batch = FlatBatch([first], CPU)
    assert per_request.shares(batch, own) == [(own, batch)]  # before it is allowed, and where nobody asks
    per_request.allow(guard, subject.num_layers)
    assert per_request.shares(batch, own) == [(own, batch)]
    asking = [
        Part(wanted, start, 1, 0, 1, False, None, wanted) for start, wanted in ((2, "off"), (3, 0.25), (4, "off"))
    ]
    hidden = torch.zeros(5, subject.hidden_size)
    for edited, share in per_request.shares(FlatBatch([first, *asking], CPU), own):
        for requests in edited:
            requests.begin_pass(share)
            requests.after_layer(0, share, Stream(hidden, None))
            requests.end_pass()
    added = 0.5 * guard.tensors["direction"][0]
    assert torch.allclose(hidden, torch.stack([added, added, 0 * added, added / 2, 0 * added]))
    assert set(per_request.by_asked) == {"off", 0.25}
    per_request.shares(batch, own)
    assert set(per_request.by_asked) == {0.25}  # whose request may go on
    for requests in per_request.edited():
        requests.forget([0.25])
    per_request.shares(batch, own)
    assert not per_request.by_asked


def test_arguments_of_generate_as_vllm_has_them():
    own = GenerationConfig(eos_token_id=[2, 7], repetition_penalty=1.05, temperature=0.1, top_k=1)
    greedy = sampling_of({"max_new_tokens": 5}, own, ["x", ""])
    assert (greedy["temperature"], greedy["max_tokens"], greedy["stop"]) == (0.0, 5, ["x"])
    assert greedy["stop_token_ids"] == [2, 7] and greedy["ignore_eos"] and greedy["repetition_penalty"] == 1.05
    sampled = sampling_of({"do_sample": True, "top_p": 0.9}, own, ())
    assert (sampled["temperature"], sampled["top_p"], sampled["top_k"]) == (0.1, 0.9, 1)
    assert sampling_of({"do_sample": True}, GenerationConfig(), ())["top_k"] in (0, 50)
    for seed in (-1, "7", True, 1.0):
        with pytest.raises(ValueError, match=f"seed is {seed!r}; give a whole number of at least 0"):
            sampling_of({"do_sample": True, "seed": seed}, GenerationConfig(), ())


def test_options_of_vllms():
    assert checked_options({"enforce_eager": "False", "gpu_memory_utilization": "0.5"}) == {
        "enforce_eager": False,
        "gpu_memory_utilization": 0.5,
    }
    for share in (90, "inf", 0, "nan"):
        with pytest.raises(ValueError, match=f"gpu_memory_utilization is {share!r}; give a number above 0 and up to 1"):
            checked_options({"gpu_memory_utilization": share})
    with pytest.raises(ValueError, match="trust_remote_code: not one of vLLM's options"):
        checked_options({"trust_remote_code": True})


IN_FRONT = ("cmrm_sample", "shiftdc", "jrs_rem")
"""Guards that edit hidden states by what they have asked of the model about each request before."""
BY_REQUEST = {"vlm_guard": {"rank": 2, "query": "text"}}


@pytest.mark.parametrize("name", [name for name in other_guards() if name != "visual_prompt"])
def test_a_guard_that_does_more_than_edit_is_sent_to_the_front(name):
    with pytest.raises(ValueError, match=f"guard {name!r} rewords requests or looks at answers.*vlmguard serve MODEL"):
        check_served(vg.build_guard(name, **settings_with(HABITS[name][0], "")))


@pytest.mark.parametrize("name", editing_guards())
def test_guards_that_need_no_request_beforehand_can_be_in_an_engine(subject, anchors, name):
    guard = vg.build_guard(name, **HABITS[name][0]).fit(subject, anchors)
    check_served(guard)
    if name not in IN_FRONT:
        assert edits_of(guard, subject.num_layers)
        guard = vg.build_guard(name, **BY_REQUEST[name]).fit(subject, anchors) if name in BY_REQUEST else None
    if guard is not None:
        with pytest.raises(ValueError, match=f"vlmguard serve MODEL --guard {name} --engine vllm"):
            edits_of(guard, subject.num_layers)
