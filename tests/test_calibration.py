"""Calibration: the choice, the points that are kept, and the command."""

import json
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from helpers.guard_rows import ALIGNED, FILTER, QUICK_FITS, settings_with
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.calibration.calibrate import calibrate
from vlmguard_plugin.calibration.grid import combinations
from vlmguard_plugin.calibration.measured import Measured, in_cache
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core.choice import choose, in_words
from vlmguard_plugin.guards.core.gates_heard import hearing_gates


def point(harmful, harmless, degenerate=0.0, **settings):
    return {
        "settings": settings or None,
        "harmful_refused": harmful,
        "harmless_refused": harmless,
        "degenerate": degenerate,
    }


def test_the_best_point_within_the_bound_is_chosen():
    unguarded = point(0.2, 0.01)
    points = [
        point(0.9, 0.2, alpha=3),
        point(0.5, 0.03, alpha=1),
        point(0.5, 0.01, alpha=2),
        point(0.8, 0.0, 0.1, alpha=4),
    ]
    assert choose(points, unguarded, 0.02)["settings"] == {"alpha": 2}
    assert choose(points, unguarded, 0.5)["settings"] == {"alpha": 3}
    assert choose(points[:1], unguarded, 0.02) is None


def test_a_guard_that_helps_not_is_called_so():
    found = {"bound": 0.02, "unguarded": point(0.2, 0.0), "points": [point(0.1, 0.0, alpha=1)], "chosen": {"alpha": 1}}
    assert "does not help within the bound" in in_words(found)
    found["points"] = [point(0.5, 0.01, alpha=1)]
    assert "refuses 50.0% of harmful anchors (unguarded 20.0%) and 1.0% of harmless ones" in in_words(found)


def test_combinations_are_settings_each_once():
    grid = [{"alpha": [1, 2], "layers": [(1, 2)]}, {"alpha": [2], "layers": [[1, 2]]}]
    assert list(combinations(grid, ())) == [{"alpha": 1, "layers": [1, 2]}, {"alpha": 2, "layers": [1, 2]}]
    assert list(combinations(grid, ("alpha",))) == [{"layers": [1, 2]}]


@pytest.mark.parametrize("name", vg.list_guards())
def test_every_guard_can_be_calibrated(subject, anchors, name, tmp_path):
    settings = settings_with({**QUICK_FITS, "eta": ALIGNED, "moderated": FILTER}.get(name, {}), "")
    guard = vg.build_guard(name, **settings)
    grid = [{**{key: values[:1] for key, values in part.items()}} for part in guard.grid(subject.num_layers)][:1]
    found = calibrate(guard, subject, anchors, grid=grid or None, pairs=2, points_file=tmp_path / "points.json")
    facts = found.facts["calibration"]
    assert facts["pairs"] == 2 and facts["unguarded"]["n"] == 2 and len(facts["points"]) == 1
    assert found.facts["anchors"]["pairs"] == len(anchors.pairs) // 2
    found.save(tmp_path / "guard")
    assert vg.load_guard(tmp_path / "guard", subject).facts["calibration"] == json.loads(json.dumps(facts))


def test_points_are_kept_and_gone_on_from(subject, anchors, tmp_path, monkeypatch):
    """A calibration that is stopped has lost nothing: what was measured is not measured again."""
    import vlmguard_plugin.calibration.calibrate as module

    measured = []
    real = module.shares

    def shares(labels):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(labels)
        return real(labels)

    monkeypatch.setattr(module, "shares", shares)
    run = lambda: calibrate(  # noqa: E731
        vg.build_guard("tbop"),
        subject,
        anchors,
        grid=[{"alpha": [0.5, 1.0, 2.0]}],
        pairs=2,
        points_file=tmp_path / "points.json",
    )
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [one["settings"] for one in json.loads((tmp_path / "points.json").read_text())["points"]] == [
        None,
        {"alpha": 0.5},
    ]
    measured.clear()
    facts = run().facts["calibration"]
    assert len(measured) == 2 and [one["settings"] for one in facts["points"]] == [
        {"alpha": 0.5},
        {"alpha": 1.0},
        {"alpha": 2.0},
    ]


def test_only_requests_that_a_gate_fires_on_are_answered_again(subject, anchors, monkeypatch):
    """With the same labels as when all are answered; the unguarded answers are taken once for all guards."""
    import vlmguard_plugin.calibration.calibrate as module

    asked = []
    monkeypatch.setattr(module, "judge", lambda question, said: asked.append(question) or Judged(f"said {said}"))
    held_out = Anchors(anchors.pairs[:4])
    measured, alone = Measured(), module.Unguarded(subject, held_out, Measured(), "all")
    first = True
    unguarded = alone.labels()
    for name in ("vlm_guard", "conditional_refusal", "mars"):
        guard = vg.build_guard(name, **({"alpha": 40.0} if name == "vlm_guard" else {})).fit(subject, anchors)
        asked.clear()
        labels = module.labels_under(guard, subject, held_out, alone)
        fired = len(asked)
        everything = {
            side: module.judged(
                module.queries_of(held_out, side), lambda *of, **how: guard.respond(subject, *of, **how)
            )
            for side in module.SIDES
        }
        assert labels == everything and fired == changed_or_fired(guard, subject, held_out, module)
        asked.clear()
        calibrate(guard, subject, anchors, grid=[{}], measured=measured)
        both = len(anchors.pairs) - len(anchors.pairs) // 2
        assert len(asked) >= 2 * both if first else len(asked) < 2 * both
        first = False
    assert all(len(labels) == 4 for labels in unguarded.values())


@pytest.mark.parametrize("positions", ["last", "generated", "all"])
def test_what_is_done_to_every_request_is_answered_for_every_request(subject, anchors, monkeypatch, positions):
    """VLM-Guard's projection acts where its gate does not fire too: the unguarded model's labels stand for none."""
    import vlmguard_plugin.calibration.calibrate as module

    monkeypatch.setattr(module, "judge", lambda question, said: Judged(said))
    held_out = Anchors(anchors.pairs[:4])
    alone = module.Unguarded(subject, held_out, Measured(), "all")
    own = {"gate": "midpoint", "layers": [1], "positions": positions}
    projected = vg.build_guard("vlm_guard", project=True, **own).fit(subject, anchors)
    assert projected.has_gate and not projected.acts_where_fired
    assert vg.build_guard("vlm_guard", **own).acts_where_fired
    everything = {
        side: module.judged(
            module.queries_of(held_out, side), lambda *of, **how: projected.respond(subject, *of, **how)
        )
        for side in module.SIDES
    }
    assert module.labels_under(projected, subject, held_out, alone) == everything


class Judged:
    def __init__(self, label):
        self.label = label


def changed_or_fired(guard, subject, held_out, module):
    """How many requests the guard's gates fire on, by its margins: above zero in any layer."""
    count = 0
    for side in module.SIDES:
        queries = module.queries_of(held_out, side)
        with hearing_gates(queries) as heard:
            guard.respond(subject, queries, max_new_tokens=2)
        count += sum(heard.fired)
    return count


def test_a_guard_that_meets_no_bound_says_so_and_keeps_its_settings(tmp_path, anchors):
    """The only setting tried has degenerate answers, which the unguarded model has not."""
    tiny_llava().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    csv = tmp_path / "anchors.csv"
    csv.write_text("harmful,harmless\n" + "".join(f"{pair.harmful},{pair.harmless}\n" for pair in anchors.pairs))
    # tiny models babble with and without a guard, so the points are put there as measured before
    arguments = [
        "fit",
        "tbop",
        "--model",
        str(tmp_path / "model"),
        "--anchors",
        str(csv),
        "--calibrate",
        "--pairs",
        "2",
    ]
    arguments += ["--grid", '[{"alpha": [0.5]}]', "--out", str(tmp_path / "guard")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    points = json.loads((tmp_path / "guard" / "calibration.json").read_text())
    points["points"][0]["degenerate"], points["points"][1]["degenerate"] = 0.0, 0.5
    (tmp_path / "guard" / "calibration.json").write_text(json.dumps(points))
    done = CliRunner().invoke(main, arguments)
    assert (
        done.exit_code == 0
        and "settings tried: 1; bound 2.0% more over-refusal than unguarded: none is within the bound" in done.output
    )
    facts = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert facts["calibration"]["chosen"] is None and facts["settings"]["alpha"] == 1.0
    bad = CliRunner().invoke(main, [*arguments[:-3], "{}", "--out", str(tmp_path / "guard")])
    assert bad.exit_code != 0 and "is not a list of" in bad.output


def test_compositions_are_refused(subject, anchors):
    with pytest.raises(ValueError, match="can't be calibrated as one"):
        calibrate(vg.build_guard("tbop+cmrm"), subject, anchors)


def test_what_was_measured_is_not_measured_again_whatever_folder_and_grid(
    subject, anchors, tmp_path, monkeypatch, capsys
):
    """By another calibration of the same model, from the cache; of another setting, type or damaged file it is."""
    monkeypatch.setenv("VLMGUARD_CACHE", str(tmp_path / "cache"))
    guard, answered = vg.build_guard("refusal_direction", layers=[1]), []
    own = subject.generate
    monkeypatch.setattr(subject, "generate", lambda *of, **how: answered.append(len(of[0])) or own(*of, **how))

    def found(*alphas, out):
        answered.clear()
        grid, file = [{"alpha": list(alphas)}], tmp_path / f"{out}.json"
        done = calibrate(guard, subject, anchors, grid=grid, pairs=2, points_file=file, measured=in_cache(subject))
        return {json.dumps(point["settings"]): point for point in done.facts["calibration"]["points"]}

    first = found(1.0, 2.0, out="a")
    assert len(answered) == 6, "two sides each, unguarded and under two settings"
    second = found(2.0, 3.0, out="b")
    assert len(answered) == 2 and second['{"alpha": 2.0}'] == first['{"alpha": 2.0}']
    guard = vg.build_guard("refusal_direction", layers=[1], alpha=3.0)
    assert found(1.0, 3.0, out="c")['{"alpha": 3.0}'] == second['{"alpha": 3.0}'] and not answered
    monkeypatch.setattr(type(subject), "dtype", torch.float16)
    found(1.0, out="d")
    assert len(answered) == 4, "computed in another type"
    (file,) = (tmp_path / "cache" / "calibrations").iterdir()
    file.write_text('{"labels": {"unguarded": 3}}')
    found(1.0, out="e")
    assert len(answered) == 4 and "its points are measured again" in capsys.readouterr().err
    assert json.loads(file.read_text())["labels"]


def test_points_of_a_folder_are_measured_anew_where_answers_or_labels_come_about_otherwise(
    subject, anchors, tmp_path, monkeypatch
):
    """Computed in another type, or judged by other rules; none is taken over from a damaged file."""
    file, answered, own = tmp_path / "points.json", [], subject.generate
    monkeypatch.setattr(subject, "generate", lambda *of, **how: answered.append(len(of[0])) or own(*of, **how))

    def asked():
        answered.clear()
        guard = vg.build_guard("refusal_direction", layers=[1])
        calibrate(guard, subject, anchors, grid=[{"alpha": [1.0]}], pairs=2, points_file=file)
        return len(answered)

    assert asked() == 4 and asked() == 0, "two sides, unguarded and guarded, and not again"
    with monkeypatch.context() as changed:
        changed.setattr(type(subject), "dtype", torch.float16)
        assert asked() == 4
    with monkeypatch.context() as changed:
        changed.setattr("vlmguard_plugin.calibration.measured.RulesJudge", lambda: SimpleNamespace(version="another"))
        assert asked() == 4
    assert asked() == 4
    kept = json.loads(file.read_text())
    for damage in ({"points": [{"settings": None}]}, {"points": 3}, {"points": [{**kept["points"][0], "n": "2"}]}):
        file.write_text(json.dumps({**kept, **damage}))
        with pytest.raises(ValueError, match="points.json holds no calibration points"):
            asked()


def test_a_checkpoint_that_is_told_to_answer_otherwise_is_asked_anew(fresh, anchors, tmp_path, monkeypatch):
    """Its weights are the same, but its generation_config or config is not; a name in it says nothing."""
    answered, own = [], fresh.generate
    monkeypatch.setattr(fresh, "generate", lambda *of, **how: answered.append(len(of[0])) or own(*of, **how))

    def asked():
        answered.clear()
        guard = vg.build_guard("refusal_direction", layers=[1])
        calibrate(guard, fresh, anchors, grid=[{"alpha": [1.0]}], pairs=2, measured=Measured(tmp_path))
        return len(answered)

    assert asked() == 4 and asked() == 0
    fresh.model.generation_config.repetition_penalty = 1.4
    assert asked() == 4 and asked() == 0
    fresh.model.config.vision_feature_layer = -1
    assert asked() == 4 and asked() == 0
    fresh.model.config._name_or_path = fresh.model.generation_config.transformers_version = "elsewhere"
    assert asked() == 0


@pytest.mark.parametrize(
    "labels",
    [
        {"harmful": ["refusal"], "harmless": []},
        {"harmful": [], "harmless": []},
        {"harmful": ["refused"], "harmless": ["safe"]},
        {"harmful": ["refusal", "safe"], "harmless": ["safe"]},
    ],
)
def test_labels_that_are_none_are_not_taken_from_the_cache(labels, tmp_path, capsys):
    (tmp_path / "on.json").write_text(json.dumps({"labels": {"under": labels}}))
    assert Measured(tmp_path).labels("on", "under") is None
    assert "its points are measured again" in capsys.readouterr().err
