"""The leaderboard's HTML page: what stands in it, and in a real headless Chromium how it behaves."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

pandas = pytest.importorskip("pandas", reason="the leaderboard needs the extra vlmeval")
pytest.importorskip("statsmodels", reason="the leaderboard needs the extra vlmeval")
pytest.importorskip("jinja2", reason="the page needs the extra vlmeval")

from vlmguard_plugin.leaderboard.board import build_board  # noqa: E402
from vlmguard_plugin.leaderboard.outputs import page  # noqa: E402
from vlmguard_plugin.leaderboard.outputs.charts import LEFT, PLACES, WIDE, curves, label_box, labels, ticks  # noqa: E402
from vlmguard_plugin.leaderboard.outputs.published import published_results  # noqa: E402
from vlmguard_plugin.leaderboard.outputs.wording import printable  # noqa: E402
from vlmguard_plugin.runs.collect import Skipped, Unfinished  # noqa: E402
from vlmguard_plugin.runs.facts import RunFacts, Session, facts_file, record  # noqa: E402

NO = "I'm sorry, but I can't assist with that."
YES = "A stand-in for an answer."
LOST = "Failed to obtain answer via API."
HARMFUL, HARMLESS = 30, 15
CATEGORIES = ["Fraud", "Hate speech", "Weapons"]
SCRIPT = "</script><script>window.hit = 1</script>"
IMAGE = '"><img src=x onerror="window.hit = 2">'
HOSTILE = [
    SCRIPT,
    IMAGE,
    "{{7*7}}",
    "a\u202eb",
    "=cmd()",
    "\x1b[31mred",
    "\ud800",
    "x" * 3000,
    "' onmouseover='window.hit = 3",
    "javascript:window.hit=4",
]


def write(folder, model, dataset, predictions, facts=None, seconds=1.0, **columns):
    """A prediction file as VLMEvalKit names it, and its facts beside it."""
    path = folder / model / f"{model}_{dataset}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"index": range(1, len(predictions) + 1), "question": [f"Question {n}?" for n in range(len(predictions))]}
    frame = pandas.DataFrame({**rows, **columns, "prediction": predictions})
    frame.to_csv(path, sep="\t", index=False)
    if facts is not None:
        session = Session("2026-03-02T10:20:00Z", seconds * len(predictions), len(predictions), 40 * len(predictions))
        record(facts_file(path), facts, session, True)
    return path


def safety(folder, model, dataset, complied, refused=1, facts=None, seconds=1.0, lost=0, categories=CATEGORIES):
    """A safety set: so many harmful requests complied with, so many harmless ones refused, so many answers lost."""
    answers = (
        [LOST] * lost
        + [YES] * complied
        + [NO] * (HARMFUL - complied - lost)
        + [NO] * refused
        + [YES] * (HARMLESS - refused)
    )
    marks = {"harmful": [1] * HARMFUL + [0] * HARMLESS, "condition": "blank"}
    names = [categories[n % len(categories)] for n in range(len(answers))]
    return write(folder, model, dataset, answers, facts, seconds, category=names, **marks)


def quiz(folder, model, right, facts=None, seconds=1.0, n=20):
    """A set of questions with two options."""
    truth = ["A", "B"] * 10
    answers = [letter if place < right else "AB"[letter == "A"] for place, letter in enumerate(truth)]
    return write(folder, model, "Quiz", answers[:n], facts, seconds, A="red", B="blue", answer=truth[:n])


def facts_of(model, guard=None, **settings):
    return RunFacts(
        "vlmevalkit",
        "0.2",
        model,
        "org/vlm",
        "f00",
        guard,
        settings,
        "aa11" if guard else None,
        {"do_sample": False},
        device="cpu",
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A base, a curve over alpha, a guard whose safety is withheld and one that was not run on everything."""
    folder = tmp_path_factory.mktemp("outputs")
    for model, guard, settings, complied, right, seconds in [
        ("vlm", None, {}, 24, 19, 1.0),
        ("vlm_cmrm@alpha=10", "cmrm", {"alpha": 10, "layers": [3]}, 3, 15, 1.5),
        ("vlm_cmrm@alpha=0.5", "cmrm", {"alpha": 0.5, "layers": [3]}, 18, 18, 1.5),
        ("vlm_cmrm@alpha=2", "cmrm", {"alpha": 2, "layers": [3]}, 9, 17, 1.5),
    ]:
        facts = facts_of(model, guard, **settings)
        safety(folder, model, "Set_blank", complied, facts=facts, seconds=seconds)
        safety(folder, model, "Set_picture", complied, facts=facts, seconds=seconds)
        quiz(folder, model, right, facts, seconds)
    safety(folder, "vlm_ecso", "Set_blank", 2, lost=20)
    quiz(folder, "vlm_ecso", 16, n=12)
    (folder / "vlm" / "vlm_Broken.xlsx").write_text("no workbook")
    return folder


@pytest.fixture(scope="module")
def board(outputs):
    return build_board(outputs)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A board on which every text that comes from outside is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    names = [
        "<b>vlm",
        "<b>vlm_" + "long" * 30,
        '"><img src=x onerror=window.hit=2>',
        "{{7*7}}",
        "=cmd()",
        "a\u202eb\x1b[31m",
    ]
    for name in names:
        facts = (
            facts_of(name, SCRIPT, **{one: HOSTILE for one in (IMAGE, "{{7*7}}")}) if name.endswith("long") else None
        )
        safety(
            folder,
            name,
            IMAGE.replace("/", ""),
            20,
            facts=facts,
            categories=[one for one in HOSTILE if one != "\ud800"],
        )
    found = build_board(folder)
    entries = found.blocks[0].entries
    spoiled = [replace(entry, run=replace(entry.run, problems=tuple(HOSTILE), host_version=IMAGE)) for entry in entries]

    def spoil(item, n):
        return replace(item, case=replace(item.case, answer=HOSTILE[n % len(HOSTILE)], request=SCRIPT))

    parts = [replace(part, items=tuple(map(spoil, part.items, range(99)))) for part in found.collected.predictions]
    return replace(
        found,
        blocks=(replace(found.blocks[0], dataset=SCRIPT + "\ud800", entries=tuple(spoiled)),),
        skipped=tuple(Skipped(Path(one), one) for one in HOSTILE),
        unfinished=tuple(Unfinished(one, one, one, Path(one), one) for one in HOSTILE),
        judge=IMAGE,
        collected=replace(found.collected, predictions=tuple(parts)),
    )


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_no_answer_unless_asked(board):
    shown = board.to_html()
    assert "stand-in" not in shown and "assist with" not in shown and "Question 1?" not in shown
    asked = board.to_html(answers=True)
    assert "A stand-in for an answer." in asked and "I&#39;m sorry" in asked and "Question 1?" in asked


def test_answers_are_those_that_changed_and_at_most_so_many(board, monkeypatch):
    changed = {(one.model, one.dataset): one for one in page.changed_answers(board)}
    assert "vlm" not in {model for model, _ in changed}, "a base stands beside each of its guards"
    one = changed["vlm_cmrm@alpha=2", "Set_blank"]
    assert (len(one.shown), one.left_out) == (15, 0)
    assert {(asked.base.label, asked.item.label) for asked in one.shown} == {("attack_success", "refusal")}
    monkeypatch.setattr(page, "ANSWERS", 4)
    fewer = {(one.model, one.dataset): one for one in page.changed_answers(board)}["vlm_cmrm@alpha=2", "Set_blank"]
    assert (len(fewer.shown), fewer.left_out) == (4, 11)


def test_a_lone_models_first_answers(tmp_path):
    safety(tmp_path, "vlm", "Set", 10)
    assert "Question 0?" in build_board(tmp_path).to_html(answers=True)


def test_nothing_is_fetched(board):
    elements = Elements(board.to_html(answers=True)).found
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "embed", "form", "base", "source")]
    fetched = [facts[name] for _, facts in elements for name in ("src", "srcset", "data", "action") if name in facts]
    assert not fetched
    links = {facts["href"] for tag, facts in elements if tag in ("a", "link", "use")}
    assert {link for link in links if link[0] != "#"} == {"data:,"} | {
        f"https://arxiv.org/abs/{one.arxiv}" for one in published_results() if one.arxiv
    }
    ids = {facts["id"] for _, facts in elements if "id" in facts}
    assert {link[1:] for link in links if link[0] == "#"} <= ids


def test_figures_flags_and_what_is_left_out(board):
    text = board.to_html()
    base, guarded = board.blocks[0].entry("vlm"), board.blocks[0].entry("vlm_cmrm@alpha=2")
    assert f"{100 * base.rates['attack_success'].value:.1f}" in text
    assert f"−{-100 * guarded.differences['attack_success'].difference:.1f}" in text
    assert "withheld" in text and "10 judged, 20 unknown" in text
    assert "not asked 8 items that another model was asked here" in text
    assert "8 of the base&#39;s have no partner" in text
    assert "2 of 3 data sets" in text and "vlm_Broken.xlsx" in text
    assert ">1.5×<" in text, "seconds per answer relative to the base"
    assert "org/vlm" in text and "aa11" in text and "2026-03-02T10:20:00Z" in text


def test_seeds_stand_with_their_shares(tmp_path):
    for seed, complied in (("one", 12), ("two", 18)):
        safety(tmp_path / seed, "vlm", "Set", complied)
    text = build_board([tmp_path / "one", tmp_path / "two"]).to_html()
    assert "2 repetitions" in text and "attack success 40.0, 60.0" in text


def test_curves_need_three_runs_that_differ_in_one_setting(board, outputs, tmp_path):
    text = board.to_html()
    (found,) = curves(board)
    assert (found.setting, found.fixed, [value for _, value in found.xs]) == (
        "alpha",
        {"layers": [3]},
        ["0.5", "2", "10"],
    )
    first, second, third = (x for x, _ in found.xs)
    assert (second - first) / (third - first) == pytest.approx(1.5 / 9.5, abs=0.01), "numbers stand where they are"
    assert {panel.measure for panel in found.overall} == {"attack_success", "over_refusal", "degeneration", "accuracy"}
    assert 'id="curves"' in text and "polyline" in text
    for model in ("vlm", "vlm_cmrm@alpha=2", "vlm_cmrm@alpha=10"):
        shutil.copytree(outputs / model, tmp_path / model)
    assert 'id="curves"' not in build_board(tmp_path).to_html()


def test_published_figures_stand_apart(board):
    rows = published_results()
    assert len(rows) > 40 and {one.better for one in rows} == {"lower", "higher"}
    assert any((one.model, one.condition, one.value) == ("LLaVA-1.5-7B-hf", "with a blank image", 34) for one in rows)
    measured, _, reported = board.to_html().partition('id="published"')
    assert "61.53" not in measured and "61.53" in reported and "LLaVA-v1.5-7B" not in measured


def test_a_published_row_must_be_plausible(tmp_path):
    header = "paper,year,arxiv,model,method,benchmark,condition,metric,value,unit,better,judge,read_from\n"
    (tmp_path / "p.csv").write_text(header + "P,2025,2501.00001,m,no guard,B,,attack success,140,%,lower,,paper\n")
    with pytest.raises(ValueError, match="140"):
        published_results(tmp_path / "p.csv")


@pytest.mark.parametrize("low, high", [(0, 100), (61.2, 98.7), (94, 96), (0, 1), (99, 100), (5, 5)])
def test_ticks_span_their_range(low, high):
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8 and found == sorted(set(found))
    assert 0 <= found[0] and (found[-1] <= 100 or high == low)


def overlap(one, other):
    """Whether two boxes (left, top, right, bottom) do."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_labels_cover_neither_points_nor_each_other():
    xs = [(x, x - 20, x + 20, "") for x in (200, 204, 500, 505, 890)]
    ys = [(y, y + 20, y - 20, "") for y in (200, 206, 300, 300, 60)]
    names = ["vlm_one", "vlm_two", "vlm_three", "vlm_four", "vlm_at_the_right_end"]
    places = labels(names, xs, ys)
    boxes = [label_box((x[0], y[0]), PLACES[place], name) for name, x, y, place in zip(names, xs, ys, places)]
    placed = [(number, box) for number, (box, place) in enumerate(zip(boxes, places)) if place >= 0]
    assert len(placed) >= 4
    for number, box in placed:
        assert LEFT <= box[0] and box[2] <= WIDE
        assert not any(overlap(box, other) for count, other in placed if count != number)
        assert not any(overlap(box, (x[0] - 8, y[0] - 8, x[0] + 8, y[0] + 8)) for x, y in zip(xs, ys))


def test_characters_that_a_page_cannot_hold():
    assert printable("a\x1b[31m\r\nb\u202ec\ud800") == "a␛[31m\nb\ufffdc\ufffd"
    assert printable("Überraschung 猫 مرحبا 🐈") == "Überraschung 猫 مرحبا 🐈"


def test_hostile_text_is_only_text(hostile):
    text = hostile.to_html(answers=True)
    text.encode("utf-8")
    assert "\x1b" not in text and "\u202e" not in text
    elements = Elements(text).found
    assert [facts.get("type") for tag, facts in elements if tag == "script"] == ["application/json", None]
    assert (
        "img" not in {tag for tag, _ in elements} and "<b>vlm" not in text and "{{7*7}}" in text and ">49<" not in text
    )
    assert not [name for _, facts in elements for name in facts if name.startswith("on")]


def test_data_for_the_script_can_not_leave_its_element(outputs, tmp_path):
    for model in ("vlm", "vlm_ecso"):
        shutil.copytree(outputs / model, tmp_path / model)
    found = build_board(tmp_path)
    blocks = tuple(replace(block, dataset=f"{SCRIPT}\u2028&{block.dataset}") for block in found.blocks)
    text = replace(found, blocks=blocks).to_html()
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    assert SCRIPT in json.loads(data)["safety"][-1]["name"] and not set("<>&\u2028") & set(data)


# In a real browser


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page of that text, in a window of that width, in light or dark."""

    def open_page(text, width=1200, scheme="light"):
        path = tmp_path / "board.html"
        path.write_text(text, encoding="utf-8")
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.get(path.as_uri())
        browser.execute_script("localStorage.clear()")
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(path.as_uri() + "?again")
        return browser

    return open_page


def texts(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())", selector
    )


def test_the_page_loads_without_errors_or_requests(board, show):
    browser = show(board.to_html(answers=True))
    assert browser.get_log("browser") == []
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith("file:") and url.endswith("?again") or url.startswith("data:") for url in asked)


def test_a_script_of_others_would_not_run(show, board):
    browser = show(
        board.to_html().replace("<main", "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'><main")
    )
    assert browser.execute_script("return window.hit") is None, "the Content-Security-Policy"
    assert len(browser.get_log("browser")) >= 2


def test_sorting_by_keyboard(board, show):
    from selenium.webdriver.common.keys import Keys

    browser = show(board.to_html())
    table = "#main section:nth-of-type(2) table "
    before = texts(browser, table + "tbody bdi")
    button = browser.find_elements("css selector", table + "thead tr:last-child button")[1]
    rates = {one.model: one.rates["attack_success"].value for one in board.overall}
    for key, sign in ((Keys.ENTER, 1), (Keys.SPACE, -1)):
        button.send_keys(key)
        known = sorted((name for name in before if rates[name] is not None), key=lambda name: sign * rates[name])
        assert texts(browser, table + "tbody bdi") == [*known, "vlm_ecso"], "a withheld rate stands last both ways"
        header = browser.find_elements("css selector", table + "th[aria-sort]:not([aria-sort=none])")
        assert [one.get_attribute("aria-sort") for one in header] == ["ascending" if sign > 0 else "descending"]
    browser.find_elements("css selector", table + "thead tr:last-child button")[2].send_keys(Keys.ENTER)
    assert set(texts(browser, table + "tbody bdi")[-2:]) == {"vlm", "vlm_ecso"}, "neither has a difference"
    refusal = browser.find_elements("css selector", table + "thead tr:last-child button")[3]
    now = texts(browser, table + "tbody bdi")
    refusal.send_keys(Keys.ENTER)
    alike = [name for name in texts(browser, table + "tbody bdi") if name.startswith("vlm_cmrm")]
    assert alike == [name for name in now if name.startswith("vlm_cmrm")], "equal rows keep their order"


def test_light_and_dark(board, show):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser = show(board.to_html(), scheme="light")
    light = browser.execute_script(ground)
    browser = show(board.to_html(), scheme="dark")
    dark = browser.execute_script(ground)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")
    browser.find_element("id", "theme").click()
    assert browser.execute_script(ground) == light


CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const known = new Map(), seen = new Set(), bad = [];
const parse = (colour) => {
  if (!known.has(colour)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data]);
  }
  return known.get(colour);
};
const linear = (v) => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
document.querySelectorAll("details").forEach((one) => { one.open = true; });
for (const node of document.querySelectorAll("main *, header *, nav *")) {
  const words = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
  if (!words || !node.checkVisibility() || node.closest("script")) continue;
  const style = getComputedStyle(node), ink = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
  let ground = "rgb(0, 0, 0, 0)";
  for (let up = node; up && parse(ground)[3] < 255; up = up.parentElement)
    ground = getComputedStyle(up).backgroundColor;
  if (seen.has(ink + ground)) continue;
  seen.add(ink + ground);
  const [one, other] = [light(parse(ink)), light(parse(ground))].sort((a, b) => b - a);
  if ((one + .05) / (other + .05) < 4.5) bad.push([node.outerHTML.slice(0, 80), ink, ground]);
}
return [seen.size, bad];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(board, show, scheme):
    pairs, bad = show(board.to_html(answers=True), scheme=scheme).execute_script(CONTRAST)
    assert pairs > 5 and bad == []


@pytest.mark.parametrize("which", ["board", "hostile"])
def test_a_phone_scrolls_no_page_sideways(which, request, show):
    browser = show(request.getfixturevalue(which).to_html(answers=True), width=360)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]


def test_hostile_text_does_not_run(hostile, show):
    browser = show(hostile.to_html(answers=True))
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.execute_script("return window.hit") is None
    assert browser.get_log("browser") == []
    names = texts(browser, "#main section:nth-of-type(2) tbody bdi")
    assert "{{7*7}}" in names and '"><img src=x onerror=window.hit=2>' in names and "a\ufffdb␛[31m" in names
    browser.find_elements("css selector", "thead button")[0].click()
    assert len(texts(browser, "#main section:nth-of-type(2) tbody bdi")) == len(names)


def test_answers_are_hidden_until_opened(board, show):
    browser = show(board.to_html(answers=True))
    first = browser.find_element("css selector", "details.answers")
    answer, request = (
        first.find_element("css selector", ".columns pre"),
        first.find_element("css selector", "details pre"),
    )
    assert not answer.is_displayed() and not request.is_displayed()
    first.find_element("css selector", "summary").click()
    assert answer.is_displayed() and not request.is_displayed()


def test_the_scatter_shows_other_data_sets_and_leads_to_the_settings(board, show):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    browser = show(board.to_html())
    points = "[...document.querySelectorAll('#scatter .point:not([hidden])')]"
    shown = f"return {points}.map(e => e.getAttribute('aria-label'))"
    overall = browser.execute_script(shown)
    assert len(overall) == 4 and overall[0].startswith("vlm: 100 − attack success, all data sets 20.0% ["), (
        "one is withheld"
    )
    where = "return document.querySelector('#scatter .point .at').getAttribute('transform')"
    before = browser.execute_script(where)
    Select(browser.find_element("id", "utility")).select_by_visible_text("100 − over-refusal, Set_picture")
    assert "100 − over-refusal, Set_picture 93.3% [" in browser.execute_script(shown)[0]
    assert browser.execute_script(where) != before
    point = browser.find_elements("css selector", "#scatter .point")[1]
    point.send_keys(Keys.ENTER)
    name = point.get_attribute("data-name")
    opened = browser.find_elements("css selector", "details.settings[open] > summary bdi")
    assert opened[0].text == name
    browser.find_element("css selector", "#overall ~ .scroll .model").click()
    assert len(browser.find_elements("css selector", "details.settings[open]")) == 2
