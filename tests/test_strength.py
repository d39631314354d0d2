"""What a request may ask of a served guard: off, or a strength in the range that kept the bound."""

import pytest

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.strength import as_asked, strengths_of, told
from vlmguard_plugin.query import Query

UNGUARDED = {"n": 10, "harmful_refused": 0.1, "harmless_refused": 0.1, "degenerate": 0.0}


def point(harmless=0.1, degenerate=0.0, **settings):
    return {**UNGUARDED, "settings": settings, "harmless_refused": harmless, "degenerate": degenerate}


def calibrated(guard, *points, bound=0.05):
    guard.facts["calibration"] = {"bound": bound, "unguarded": UNGUARDED, "points": list(points), "chosen": None}
    return guard


@pytest.fixture
def guard(subject, anchors):
    return vg.build_guard("vlm_guard", layers=[1], alpha=0.5).fit(subject, anchors)


def bounds(guard):
    strengths = strengths_of(guard)
    return strengths.least, strengths.most, strengths.calibrated


def test_a_guard_that_was_not_calibrated_can_be_weaker(guard):
    assert bounds(guard) == (0, 0.5, False)
    assert bounds(vg.build_guard("coca", alpha=-0.5)) == (-0.5, 0, False)


def test_a_calibrated_one_has_the_range_that_kept_the_bound(guard, tmp_path):
    points = [
        point(layers=[1], alpha=0.25),
        point(layers=[1], alpha=2.0, harmless=0.15),
        point(layers=[1], alpha=3.0, harmless=0.16),  # over the bound
        point(layers=[1], alpha=0.1, degenerate=0.05),
        point(layers=[2], alpha=5.0),  # of other layers
    ]
    assert bounds(calibrated(guard, *points)) == (0.25, 2.0, True)
    guard.save(tmp_path / "guard")
    assert bounds(vg.load_guard(tmp_path / "guard")) == (0.25, 2.0, True)
    assert bounds(guard.with_settings(layers=[2])) == (5.0, 5.0, True)
    assert bounds(guard.with_settings(layers=[0])) == (0, 0.5, False)
    assert bounds(calibrated(guard, point(alpha=0.5), point())) == (0.5, 0.5, True)  # a point under settings as given


def test_a_calibration_that_is_not_whole_is_refused(guard):
    guard.facts["calibration"] = {"points": [{}]}
    with pytest.raises(ValueError, match="calibration of guard 'vlm_guard' is not whole .*calibrated again"):
        strengths_of(guard)


def test_off_and_another_strength_give_what_such_guards_give(guard, subject):
    queries = [Query("How to bake a cake?"), Query("Tell me")]
    unguarded = subject.generate(queries, max_new_tokens=6)
    assert as_asked(guard, "off").respond(subject, queries, max_new_tokens=6) == unguarded
    weaker = as_asked(guard, 0.25)
    assert weaker.settings == guard.with_settings(alpha=0.25).settings and weaker.fingerprint != guard.fingerprint
    assert guard.settings.alpha == 0.5


@pytest.mark.parametrize("wanted", [0.51, -0.1, float("nan"), float("inf"), 10**400])
def test_out_of_range_is_refused(guard, wanted):
    with pytest.raises(ValueError, match="guard 'vlm_guard' may be asked for 0 to 0.5"):
        as_asked(guard, wanted)


@pytest.mark.parametrize("wanted", ["on", "0.3", True, None, [0.3], {}])
def test_anything_else_is_refused(guard, wanted):
    with pytest.raises(ValueError, match="give 'off' or a number, its alpha"):
        as_asked(guard, wanted)


def test_of_a_composition_the_one_guard_that_has_a_strength(guard, subject, anchors):
    both = vg.build_guard("vlm_guard+self_reminder", vlm_guard={"layers": [1], "alpha": 0.5}).fit(subject, anchors)
    assert bounds(both) == (0, 0.5, False)
    weaker = as_asked(both, 0.25)
    assert weaker.name == both.name and [part.settings for part in weaker.parts] == [
        guard.with_settings(alpha=0.25).settings,
        both.parts[1].settings,
    ]
    assert told(both) == {
        "off": True,
        "strength": {"guard": "vlm_guard", "alpha": [0.0, 0.5], "calibrated": False},
    }


@pytest.mark.parametrize("name, why", [("self_reminder", "it has no such"), ("vlm_guard+cmrm", "vlm_guard and cmrm")])
def test_a_guard_without_one_strength_can_only_be_off(name, why):
    guard = vg.build_guard(name)
    with pytest.raises(ValueError, match=f"has no one strength .{why}.*; ask for 'off', or for nothing"):
        as_asked(guard, 0.5)
    assert told(guard) == {"off": True, "strength": None}
    assert as_asked(guard, "off").name == "none"
