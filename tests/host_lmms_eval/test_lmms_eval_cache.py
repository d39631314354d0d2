"""lmms-eval's cache of answers, and runs that fail."""

import pytest
from helpers.lmms_eval_sets import BARE, PICTURED, answered, break_picture, built, empty, rows, write_sets
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.benchmarks import Row


def test_a_failing_request_stops_the_run_and_keeps_what_was_answered(place, evaluate, expected, tmp_path, monkeypatch):
    from lmms_eval.api.instance import Instance
    from lmms_eval.caching.response_cache import ResponseCache

    write_sets(tmp_path / "data", rows())
    break_picture(tmp_path / "data" / "FigStep_Tiny.tsv", 7)
    cache = str(tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setenv("LMUData", str(tmp_path / "data"))
        with pytest.raises(RuntimeError, match=f"task {PICTURED}, document 7: .*the picture of row 'i7' can't be read"):
            evaluate("llava_vlmguard", (PICTURED,), batch_size=2, use_cache=cache)
    answers, model = evaluate("llava_vlmguard", (PICTURED,), batch_size=2, use_cache=cache)
    assert answers[PICTURED] == expected["guarded"][PICTURED]
    assert answered(model) == 3 + empty(answers[PICTURED][:6]), "documents 0 to 5 came from the run that failed"

    (tmp_path / "no.png").write_text("no picture")
    model = built("llava_vlmguard")
    model.task_dict = {"t": {"test": [str(tmp_path / "no.png"), Image.new("RGB", (9, 9))]}}

    def picture(document):
        return [{"role": "user", "content": [{"type": "image", "url": document}]}]

    asked = [
        Instance("generate_until", ("", picture, {}, k, "t", "test"), 0, {"task": "t", "doc_id": k, "repeats": 1})
        for k in (1, 0)
    ]
    for run in (
        model.generate_until,
        lambda requests: ResponseCache.create(cache).execute(model, "generate_until", requests),
    ):
        with pytest.raises(RuntimeError, match="task t, document 0: image .*no.png' can't be read"):
            run(asked)

    def film(document):
        return [{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}]

    model = built("llava_vlmguard")
    model.task_dict = {"films": {"test": [{}]}}
    request = Instance(
        "generate_until", ("", film, {}, 0, "films", "test"), 0, {"task": "films", "doc_id": 0, "repeats": 1}
    )
    with pytest.raises(
        RuntimeError, match="task films, document 0: it holds a part of kind 'video'.*llava_vlmguard stops"
    ):
        model.generate_until([request])
    with pytest.raises(NotImplementedError, match="llava_vlmguard writes answers"):
        model.loglikelihood([request])
    with pytest.raises(NotImplementedError, match="task films has several rounds"):
        model.generate_until_multi_round([request])


def test_the_cache_serves_no_other_models_answers(place, evaluate, expected, tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    assert answered(evaluate("llava_vlmguard", use_cache=cache)[1]) == 12
    again, model = evaluate("llava_vlmguard", use_cache=cache)
    assert again == expected["guarded"] and answered(model) == empty(again[PICTURED] + again[BARE])

    strong = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    vg.build_guard("vlm_guard", layers=[0], alpha=9).fit(strong, vg.load_anchors(place / "anchors.csv")).save(
        tmp_path / "strong"
    )
    arguments = "device=cpu"
    before, model = evaluate("llava_vlmguard", arguments=arguments, use_cache=cache)
    assert answered(model) == 12
    with monkeypatch.context() as patch:
        patch.setenv("VLMGUARD_GUARD_DIR", str(tmp_path / "strong"))
        changed, model = evaluate("llava_vlmguard", arguments=arguments, use_cache=cache)
        assert answered(model) == 12 and changed != before
    tiny_llava(seed=1).save_pretrained(tmp_path / "other")
    tiny_processor().save_pretrained(tmp_path / "other")
    with monkeypatch.context() as patch:
        patch.setenv("VLMGUARD_LLAVA", str(tmp_path / "other"))
        assert answered(evaluate("llava_vlmguard", arguments=arguments, use_cache=cache)[1]) == 12

    repainted = [
        Row(row.id, row.request, tuple(Image.new("RGB", (30, 30), "cyan") for _ in row.images), harmful=True)
        for row in rows()
    ]
    write_sets(tmp_path / "data", repainted)
    with monkeypatch.context() as patch:
        patch.setenv("LMUData", str(tmp_path / "data"))
        answers, model = evaluate("llava_vlmguard", use_cache=cache)
        assert answered(model) == 9 + empty(answers[BARE]), "the text-only rows are the same"
    sampled, model = evaluate("llava_vlmguard", use_cache=cache, gen_kwargs="temperature=0.7")
    assert answered(model) == 12 and model.facts["generation"]["do_sample"] is True


def test_a_damaged_cache_file_costs_a_line(evaluate, tmp_path, capfd):
    left = tmp_path / "cache" / "runs" / "left" / "rank_0.db"
    left.parent.mkdir(parents=True)
    left.write_text("no database" * 100)
    assert answered(evaluate("llava_vlmguard", (BARE,), use_cache=str(tmp_path / "cache"))[1]) == 3
    assert f"answers in {left} can't be taken over" in capfd.readouterr().err
