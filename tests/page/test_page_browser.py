"""The leaderboard's HTML page in a real headless Chromium: how it behaves."""

import json
import shutil

import pytest
from helpers.page_boards import facts_of, quiz, safety

from vlmguard_plugin.leaderboard import to_html
from vlmguard_plugin.leaderboard.build import build_board


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

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
    browser = show(to_html(board, answers=True))
    assert browser.get_log("browser") == []
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith("file:") and url.endswith("?again") or url.startswith("data:") for url in asked)


def test_a_script_of_others_would_not_run(show, board):
    browser = show(
        to_html(board).replace("<main", "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'><main")
    )
    assert browser.execute_script("return window.hit") is None, "the Content-Security-Policy"
    assert len(browser.get_log("browser")) >= 2


def test_sorting_by_keyboard(board, show):
    from selenium.webdriver.common.keys import Keys

    browser = show(to_html(board))
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
    browser = show(to_html(board), scheme="light")
    light = browser.execute_script(ground)
    browser = show(to_html(board), scheme="dark")
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
    pairs, bad = show(to_html(board, answers=True), scheme=scheme).execute_script(CONTRAST)
    assert pairs > 5 and bad == []


@pytest.mark.parametrize("which", ["board", "hostile"])
def test_a_phone_scrolls_no_page_sideways(which, request, show):
    browser = show(to_html(request.getfixturevalue(which), answers=True), width=360)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]


def test_hostile_text_does_not_run(hostile, show):
    browser = show(to_html(hostile, answers=True))
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.execute_script("return window.hit") is None
    assert browser.get_log("browser") == []
    names = texts(browser, "#main section:nth-of-type(2) tbody bdi")
    assert "{{7*7}}" in names and '"><img src=x onerror=window.hit=2>' in names and "a\ufffdb␛[31m" in names
    browser.find_elements("css selector", "thead button")[0].click()
    assert len(texts(browser, "#main section:nth-of-type(2) tbody bdi")) == len(names)


def test_answers_are_hidden_until_opened(board, show):
    browser = show(to_html(board, answers=True))
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

    browser = show(to_html(board))
    points = "[...document.querySelectorAll('#scatter .point:not([hidden])')]"
    shown = f"return {points}.map(e => e.getAttribute('aria-label'))"
    overall = browser.execute_script(shown)
    assert len(overall) == 4 and overall[0].startswith("vlm: 100 - attack success, all data sets 20.0% ["), (
        "one is withheld"
    )
    where = "return document.querySelector('#scatter .point .at').getAttribute('transform')"
    before = browser.execute_script(where)
    Select(browser.find_element("id", "utility")).select_by_visible_text("100 - over-refusal, Set_picture")
    assert "100 - over-refusal, Set_picture 93.3% [" in browser.execute_script(shown)[0]
    assert browser.execute_script(where) != before
    point = browser.find_elements("css selector", "#scatter .point")[1]
    point.send_keys(Keys.ENTER)
    name = point.get_attribute("data-name")
    opened = browser.find_elements("css selector", "details.settings[open] > summary bdi")
    assert opened[0].text == name
    browser.find_element("css selector", "#overall ~ .scroll .model").click()
    assert len(browser.find_elements("css selector", "details.settings[open]")) == 2


OVERALL = "document.querySelector('#overall ~ .scroll')"


def test_the_overall_table_fits_a_laptop(outputs, show):
    """Of a demo's form: three guarded models, four measures, seconds and tokens."""
    browser = show(to_html(build_board(outputs)))
    room, taken = browser.execute_script(f"return [{OVERALL}.clientWidth, {OVERALL}.scrollWidth]")
    assert taken <= room and room > 1100
    assert texts(browser, "#overall ~ .scroll thead tr:first-child th")[-2:] == ["seconds", "tokens"]
    name = texts(browser, "#overall ~ .scroll tbody th")
    assert any("time: × 1.5" in text for text in name)


def test_twenty_models_stand_in_one_view(tmp_path, show):
    for number in range(20):
        model = "vlm" if not number else f"vlm_cmrm@alpha={number}"
        facts = facts_of(model, "cmrm" if number else None, **({"alpha": number} if number else {}))
        safety(tmp_path, model, "Set_blank", 24 - number, facts=facts)
        quiz(tmp_path, model, 19 - number // 2, facts)
    browser = show(to_html(build_board(tmp_path)))
    assert browser.find_element("id", "compact").is_selected()
    high = f"return [...{OVERALL}.querySelectorAll('tbody tr')].map(row => row.offsetHeight)"
    rows = browser.execute_script(high)
    assert len(rows) == 20 and sum(rows) < 600 and max(rows) < 30
    assert browser.execute_script(f"return {OVERALL}.scrollWidth <= {OVERALL}.clientWidth")
    small = browser.find_element("css selector", "#overall ~ .scroll td small")
    assert not small.is_displayed()
    browser.find_element("id", "compact").send_keys(" ")
    assert small.is_displayed() and min(browser.execute_script(high)) > max(rows), "the keyboard brings intervals back"


@pytest.mark.parametrize("width", [1200, 360])
def test_long_names_are_whole_in_a_compact_table(tmp_path, show, width):
    """Guarded models' names differ at their end, and on a phone they leave room for the rates."""
    base = "Some-VL-7B-Instruct-of-an-organisation-with-a-long-name"
    for number in range(9):
        safety(tmp_path, f"{base}_cmrm@alpha={number}" if number else base, "Set_blank", 24 - number)
    browser = show(to_html(build_board(tmp_path)), width)
    assert browser.find_element("id", "compact").is_selected()
    cells = "[...document.querySelectorAll('#overall ~ .scroll tbody th')]"
    assert all(browser.execute_script(f"return {cells}.map(cell => cell.scrollWidth <= cell.clientWidth)"))
    assert max(browser.execute_script(f"return {cells}.map(cell => cell.offsetWidth)")) < width / 2
