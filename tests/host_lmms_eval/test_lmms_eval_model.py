"""Guarded models in lmms-eval's own evaluator, in this process."""

import pytest
import torch
from helpers.guard_rows import ALIGNED, settings_with
from helpers.lmms_eval_sets import ARGUMENTS, BARE, NOUNS, PICTURED, built, rows
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg


def test_answers_are_the_librarys(place, evaluate, expected):
    assert expected["guarded"] != expected["unguarded"]
    assert evaluate("llava_vlmguard")[0] == expected["guarded"]
    assert (
        evaluate("vlmguard", arguments=f"pretrained={place / 'tiny'},guard=vlm_guard,{ARGUMENTS}")[0]
        == expected["guarded"]
    )
    assert evaluate("vlmguard", arguments="pretrained=llava,device=cpu")[0] == expected["unguarded"]


def test_a_guard_with_models_of_its_own(place, evaluate):
    """ETA, whose CLIP and reward model are named among the arguments."""
    settings = settings_with(ALIGNED, "")
    arguments = ",".join(f"{name}={value}" for name, value in settings.items())
    arguments = f"pretrained={place / 'tiny'},guard=eta,{arguments},device=cpu"
    answers, model = evaluate("vlmguard", [PICTURED], length=4, arguments=arguments, limit=3)
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=1)
    queries = [vg.Query(row.request, row.images) for row in rows()[:3]]
    assert answers[PICTURED] == vg.build_guard("eta", **settings).respond(subject, queries, max_new_tokens=4)
    assert all(answer.startswith("As an AI assistant") for answer in answers[PICTURED])
    assert model.facts["settings"]["clip"] == settings["clip"] and model.facts["guard_fingerprint"].startswith("eta-")
    with pytest.raises(ValueError, match="clip is not given, and guard 'eta' needs a CLIP model; give clip="):
        evaluate("vlmguard", arguments=f"pretrained={place / 'tiny'},guard=eta,device=cpu")


def test_a_batch_is_one_pass(evaluate, expected):
    model = built("llava_vlmguard", batch_size=8)
    passes = []
    model.guarded.subject.model.register_forward_pre_hook(
        lambda module, arguments, named: passes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    answers, _ = evaluate(model)
    prompts = [rows for rows, length in passes if length > 1]
    assert answers == expected["guarded"] and sorted(prompts) == [1, 3, 8]
    assert len(passes) == 3 * 6, "a pass for each token of each batch"


def test_the_tasks_own_generation_arguments(place, evaluate, expected):
    from lmms_eval.api.instance import Instance

    model = built("vlmguard", "pretrained=llava,device=cpu,max_new_tokens=5")
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=1)
    model.task_dict = {"t": {"test": [{"text": f"How to mend a {noun}?"} for noun in NOUNS]}}

    def messages(document):
        return [{"role": "user", "content": [{"type": "text", "text": document["text"]}]}]

    asked = [
        {}, {"max_new_tokens": 3}, {"num_beams": 2}, {"temperature": 0, "do_sample": True, "top_p": None},
        {"max_new_tokens": 3}, {"until": [expected["unguarded"][BARE][0][2], ""], "image_aspect_ratio": "pad"},
        {"temperature": 0.7, "max_gen_toks": 4},
    ]  # fmt: skip
    requests = [
        Instance(
            "generate_until",
            ("", messages, arguments, k % 3, "t", "test"),
            0,
            {"task": "t", "doc_id": k % 3, "repeats": 1},
        )
        for k, arguments in enumerate(asked)
    ]
    torch.manual_seed(7)
    answers = model.generate_until(requests)
    generation = [{}, {"max_new_tokens": 3}, {"num_beams": 2}, {}, {"max_new_tokens": 3}, {}]
    plain = [
        subject.generate([vg.Query(f"How to mend a {NOUNS[k % 3]}?")], **{"max_new_tokens": 5, **arguments})[0]
        for k, arguments in enumerate(generation)
    ]
    assert answers[:5] == plain[:5]
    stop = expected["unguarded"][BARE][0][2]
    assert answers[5] == plain[5].partition(stop)[0]
    torch.manual_seed(7)
    assert (
        answers[6]
        == subject.generate([vg.Query("How to mend a cake?")], max_new_tokens=4, do_sample=True, temperature=0.7)[0]
    )
    assert model.passed_over == {"image_aspect_ratio"}


def test_conversations_pictures_between_words_and_what_is_refused(place):
    from vlmguard_plugin.hosts.lmms_eval.model import as_query

    red = Image.new("RGB", (9, 9), "red")
    red.save(place / "red.png")
    text, image = {"type": "text", "text": "What is"}, {"type": "image", "url": str(place / "red.png")}
    query = as_query(
        [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [text, image, {"type": "text", "text": "this?"}]},
        ]
    )
    assert query.layout == ("What is", None, "this?") and query.history == (vg.Turn("system", (("text", "Be kind."),)),)
    stored = {"bytes": (place / "red.png").read_bytes(), "path": None}
    assert as_query([{"role": "user", "content": [{"type": "image", "url": stored}, text]}]).images[0].size == (9, 9)
    for content, named in (
        ([{"type": "video", "url": "a.mp4"}, text], "'video'"), ([{"type": "audio", "url": "a.wav"}], "'audio'"),
        ([{"type": "image", "url": "https://nowhere/a.png"}], "'https://nowhere/a.png'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            as_query([{"role": "user", "content": content}])
    with pytest.raises(ValueError, match="end with the user's"):
        as_query([{"role": "assistant", "content": "No."}])


def test_a_guard_dir(place, tmp_path, evaluate):
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    guard = vg.build_guard("vlm_guard", layers=[1, 2], alpha=6).fit(subject, vg.load_anchors(place / "anchors.csv"))
    guard.save(tmp_path / "guard")
    model = built("llava_vlmguard", f"guard_dir={tmp_path / 'guard'},device=cpu")
    assert model.guarded.guard.fingerprint == guard.fingerprint
    changed = built("llava_vlmguard", f"guard_dir={tmp_path / 'guard'},device=cpu,alpha=1.5")
    assert changed.guarded.guard.settings.alpha == 1.5 and changed.guarded.guard.saved_settings()["layers"] == [1, 2]
    with pytest.raises(ValueError, match="holds the guard 'vlm_guard', but 'cmrm' was asked for"):
        built("llava_cmrm", f"guard_dir={tmp_path / 'guard'}")
    another = vg.HuggingFaceSubject(tiny_llava(seed=1), tiny_processor())
    vg.build_guard("vlm_guard", layers=[1]).fit(another, vg.load_anchors(place / "anchors.csv")).save(
        tmp_path / "others"
    )
    with pytest.raises(vg.WrongModel, match="model fingerprint"):
        built("llava_vlmguard", f"guard_dir={tmp_path / 'others'},device=cpu")
