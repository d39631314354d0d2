"""Utility as VLMEvalKit scores it: by its rules, by the scores it has left, and what is left out aloud."""

import json

import pandas
import pytest
from helpers.prediction_rows import LOST, NO, write
from jsonschema import validate

from vlmguard_plugin.judges import open_answers
from vlmguard_plugin.leaderboard import leaderboard, schema_text, to_csv, to_html, to_json, to_markdown
from vlmguard_plugin.runs.host_rules import accepted_answers, open_rule


def strict_json(board):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    facts = json.loads(to_json(board), parse_constant=refuse)
    validate(facts, json.loads(schema_text()))
    return facts


def only_rates(folder):
    (block,) = leaderboard(folder).blocks
    return block.entries[0]


@pytest.mark.parametrize(
    "rule, answer, accepted, score",
    [
        ("vqa_accuracy", "Dakota.", ["dakota"] * 4 + ["x"] * 6, 1.0),
        ("vqa_accuracy", "the dakota", ["dakota"] * 3 + ["x"] * 7, (3 * 2 / 3 + 7) / 10),
        ("vqa_accuracy", "two", ["2"] + ["x"] * 9, (0 + 9 / 3) / 10),
        ("vqa_accuracy", "dont", ["don't"] * 10, 1.0),
        ("anls", "main stret", ["Main Street", "y"], 1 - 1 / 11),
        ("anls", "something else", ["Main Street"], 0.0),
        ("relaxed", "104", ["100"], 1.0),
        ("relaxed", "106", ["100"], 0.0),
        ("relaxed", "5%", ["0.05"], 1.0),
        ("relaxed", " Blue", ["blue"], 1.0),
        ("relaxed", "7", ["inf"], 0.0),
        ("anls", "Maß", ["Mass"], 1 - 2 / 4),
        ("same", "An Author ", ["an author"], 1.0),
        ("contained", "It says STOP here", ["stop"], 1.0),
        ("contained_formula", "x ^ 2", ["x^2"], 1.0),
        ("yes_or_no", "Yes, there is.", ["Yes"], 1.0),
        ("yes_or_no", "No.", ["Yes"], 0.0),
        ("yes_or_no", "Perhaps", ["Yes"], None),
    ],
)
def test_the_rules_by_their_definitions(rule, answer, accepted, score):
    found = getattr(open_answers, rule)(answer, accepted)
    assert found == (score if score is None else pytest.approx(score))


def test_edits_are_levenshteins():
    assert [open_answers.edits(*pair) for pair in (("kitten", "sitting"), ("", "abc"), ("same", "same"))] == [3, 3, 0]


def test_cells_that_accept_several_answers():
    assert accepted_answers("['x', 'dakota']") == ["x", "dakota"] and accepted_answers("[1990]") == ["1990"]
    assert accepted_answers("[a link](b)") == ["[a link](b)"] and accepted_answers("red") == ["red"]


def test_names_of_the_hosts_sets():
    rows = [{"answer": "x"}]
    assert {open_rule(rows, name) for name in ("SGI-WetExperiment", "VisuLogic", "XLRS-Bench-lite")} == {""}
    rules = {name: open_rule(rows, name) for name in ("TextVQA_VAL", "ChartQAPro", "OCRBench_v2", "OSTRICH", "hle")}
    assert rules == {"TextVQA_VAL": "vqa_accuracy", "ChartQAPro": "", "OCRBench_v2": "", "OSTRICH": None, "hle": ""}


def test_answer_lists_stored_as_text_are_scored_by_the_hosts_rule(tmp_path):
    lists = [str(["dakota"] * 10), str(["dakota"] * 3 + ["x"] * 7), str(["y"] * 10), str(["z"] * 10)]
    write(tmp_path, "m", "TextVQA_VAL", ["Dakota", "dakota", "no", LOST] + ["no"] * 8, answer=lists + lists[2:] * 4)
    entry = only_rates(tmp_path)
    assert entry.counts == {"right": 1, "partly": 1, "wrong": 9, "unknown": 1}
    assert entry.rates["accuracy"].value == pytest.approx((1 + 0.9) / 11)
    assert entry.origin.scoring == "VQA accuracy"
    strict_json(leaderboard(tmp_path))


def test_a_circular_question_is_right_where_all_its_turns_are(tmp_path):
    index = [1, 1_000_001, 2, 1_000_002, 3, 1_000_003]
    said, true = ["A", "B", "A", "A", "B", "hm"], ["A", "B", "A", "B", "B", "A"]
    write(tmp_path, "m", "CCBench", said, A="x", B="y", answer=true)
    path = next(tmp_path.rglob("*.xlsx"))
    pandas.read_excel(path).assign(index=index).to_excel(path, index=False)
    entry = only_rates(tmp_path)
    assert entry.counts == {"right": 1, "wrong": 1, "unparsed": 1}
    assert entry.rates["accuracy"].n == 3 and "all turns" in entry.origin.scoring


def test_pope_is_scored_by_f1_in_each_of_its_categories_and_enters_no_accuracy(tmp_path):
    true = ["Yes", "Yes", "No", "No", "Yes"] + ["No"] * 5
    said = ["yes", "No", "Yes", "maybe", "Yes."] + ["No"] * 5
    categories = ["a,b", "a", "b", "a,b", "b"] + ["a"] * 5
    for model in ("m", "m_cmrm"):
        write(tmp_path, model, "POPE", said, answer=true, category=categories)
        write(tmp_path, model, "Quiz", ["A", "B"] * 3, A="x", B="y", answer=["A", "B"] * 3)
    board = leaderboard(tmp_path)
    pope = next(block for block in board.blocks if block.dataset == "POPE").entries[0]
    rate = pope.rates["f1"]
    assert set(pope.rates) == {"f1"} and rate.value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert (rate.n, rate.clusters) == (12, 10) and rate.low <= rate.value <= rate.high
    assert board.overall[0].rates["accuracy"].n == 6, "F1 is no mean over answers"
    assert "F1" in to_html(board) and "bootstrap" in to_markdown(board)
    strict_json(board)


def test_the_hosts_own_scores_count_where_they_belong_to_these_answers(tmp_path):
    said, true = ["A", "I take the second", "B", "the last"], ["A", "B", "A", "B"]
    path = write(tmp_path, "m", "MMStar", said, A="x", B="y", answer=true)
    frame = pandas.read_excel(path)
    result = path.with_name("m_MMStar_openai_result.xlsx")
    frame.assign(hit=[1, 1, 0, 0], log="").to_excel(result, index=False)
    (tmp_path / "m" / "m_MMStar_acc.csv").write_text('"split","Overall"\n"none","0.5"\n')
    entry = only_rates(tmp_path)
    assert entry.counts == {"right": 2, "wrong": 1, "unparsed": 1} and "openai_result" in entry.origin.scoring
    assert entry.origin.problems == ()
    write(tmp_path, "m_cmrm", "MMStar", said, A="x", B="y", answer=true)
    problems = [each.origin.problems for each in leaderboard(tmp_path).blocks[0].entries]
    assert all("scored in another way" in each[0] for each in problems), "what is compared is scored alike, or says so"
    next((tmp_path / "m_cmrm").glob("*.xlsx")).unlink()
    frame.assign(hit=[1, 1, 1, 1], log="").to_excel(result, index=False)
    entry = only_rates(tmp_path)
    assert "read by rules" in entry.origin.scoring, "scores that don't give the host's figure are of another run"
    assert "the host's own Overall is 0.5" in entry.origin.problems[0]
    frame.assign(hit=[1, 1, 0, 0], prediction="other").to_excel(result, index=False)
    assert "read by rules" in only_rates(tmp_path).origin.scoring


def test_what_cant_be_scored_is_left_out_aloud(tmp_path):
    for model in ("m", "m_cmrm"):
        write(tmp_path, model, "COCO_VAL", ["a cat"] * 3, answer=["['a cat', 'cat on a mat']"] * 3)
        write(tmp_path, model, "Mine", ["a"] * 3, answer=["['a', 'b']"] * 3)
        write(tmp_path, model, "Quiz", ["A"] * 3, A="x", B="y", answer=["A"] * 3)
    (tmp_path / "m" / "m_COCO_VAL_score.json").write_text('{"Bleu": [30.1, 2], "CIDEr": 83.2, "ROUGE_L": NaN}')
    board = leaderboard(tmp_path)
    assert [block.dataset for block in board.blocks] == ["Quiz"] and board.overall[0].rates["accuracy"].n == 3
    figures = {(one.model, one.dataset): one for one in board.not_scored}
    assert figures["m", "COCO_VAL"].metrics == {"CIDEr": 83.2, "Bleu": 30.1} and not figures["m_cmrm", "Mine"].metrics
    assert "scoring_rule" in figures["m", "Mine"].reason
    for shown in (to_markdown(board), to_html(board), to_csv(board), to_json(board)):
        assert "COCO" in shown and "83.2" in shown and "CIDEr" in shown
    assert len(strict_json(board)["not_scored"]) == 4


def test_a_set_of_ones_own_may_name_its_rule(tmp_path):
    write(tmp_path, "m", "Mine", ["103", "blue"], answer=["['100', '7']", "red"], scoring_rule="relaxed")
    assert only_rates(tmp_path).counts == {"right": 1, "wrong": 1}
    write(tmp_path, "m", "Mine", ["103"], answer=["100"], scoring_rule="guess")
    with pytest.raises(ValueError, match="'guess'; it must be one of vqa_accuracy"):
        leaderboard(tmp_path)


def test_accuracy_is_withheld_where_answers_cant_be_read_but_not_where_they_refuse(tmp_path):
    options = {"A": "x", "B": "y", "answer": ["A", "B"] * 10}
    write(tmp_path, "m", "Quiz", ["A", "B"] * 10, **options)
    write(tmp_path, "m_cmrm", "Quiz", ["A", "B"] * 5 + ["the left one, I think"] * 10, **options)
    write(tmp_path, "m_ecso", "Quiz", ["A", "B"] * 5 + [NO] * 10, **options)
    board = leaderboard(tmp_path)
    (block,) = board.blocks
    unread, refusing = block.entry("m_cmrm").rates["accuracy"], block.entry("m_ecso").rates["accuracy"]
    assert (unread.value, unread.withheld, unread.unparsed) == (None, True, 10) and refusing.value == 0.5
    assert not block.entry("m_cmrm").differences and block.entry("m_ecso").differences["accuracy"].significant
    overall = {one.model: one for one in board.overall}
    assert overall["m_cmrm"].unread == ("Quiz",) and "accuracy" not in overall["m_cmrm"].rates
    assert "10 of 20 answers can't be read" in to_markdown(board) and "10 can't be read" in to_html(board)
    strict_json(board)


def test_vizwiz_is_scored_by_the_column_in_which_all_people_have_answered(tmp_path):
    write(tmp_path, "m", "VizWiz", ["red", "no"], answers=[str(["red"] * 3 + ["x"] * 7), str(["blue"] * 10)])
    entry = only_rates(tmp_path)
    assert entry.rates["accuracy"].value == pytest.approx(0.45) and entry.origin.scoring == "VQA accuracy"


@pytest.mark.parametrize("dataset", ["MME", "AMBER"])
def test_scores_alone_are_no_figure_of_a_set_whose_figure_is_no_mean(tmp_path, dataset):
    write(tmp_path, "m", "Quiz", ["A"], A="x", B="y", answer=["A"])
    path = write(tmp_path, "m", dataset, ["Yes", "No"], answer=["Yes", "Yes"], category="OCR")
    pandas.read_excel(path).assign(score=[True, False]).to_excel(path.with_name(f"m_{dataset}_auxmatch.xlsx"))
    board = leaderboard(tmp_path)
    assert [block.dataset for block in board.blocks] == ["Quiz"] and board.not_scored[0].dataset == dataset


def test_the_row_of_the_whole_set_is_named_so_in_every_column(tmp_path):
    said = {"A": "x", "B": "y", "answer": ["A", "B", "B", "A"], "cycle_category": [0, 0, 1, 1]}
    write(tmp_path, "m", "HRBench4K", ["A", "B", "A", "A"], **said)
    rows = "0,all,1.0\n0,single,1.0\n1,all,0.5\n1,single,0.5\nAverage,all,0.75\nAverage,single,0.75\n"
    figures = tmp_path / "m" / "m_HRBench4K_acc.csv"
    figures.write_text("cycle,type,accuracy\n" + rows)
    assert only_rates(tmp_path).origin.problems == ()
    figures.write_text("cycle,type,accuracy\n" + rows.replace("0.75", "0.9"))
    assert "the host's own accuracy is 0.9" in only_rates(tmp_path).origin.problems[0]


def test_working_tables_of_the_host_are_no_data_sets(tmp_path):
    columns = {"A": "x", "B": "y", "answer": ["A", "B"]}
    path = write(tmp_path, "m", "Quiz_COT", ["So: A", "Answer: B"], **columns)
    write(tmp_path, "m", "Quiz_COT_cotpost", ["A", "B"], **columns)
    pandas.read_excel(path).assign(matched=1).to_csv(path.with_name("m_Quiz_COT_detail.csv"), index=False)
    write(tmp_path, "m", "Quiz_COT_2", ["So: A", "Answer: B"], **columns)
    board = leaderboard(tmp_path)
    assert [block.dataset for block in board.blocks] == ["Quiz_COT", "Quiz_COT_2"], (
        "a set of its own has no more columns"
    )
    (skipped,) = board.skipped
    assert skipped.file.name == "m_Quiz_COT_detail.csv" and "answers of m_Quiz_COT.xlsx" in skipped.reason


def test_an_answer_that_a_workbook_has_changed_keeps_none_of_the_hosts_scores_away(tmp_path):
    said = ["A", "the second", "=B", "mailto:x@y", None, "None", "B"]
    path = write(tmp_path, "m", "MMStar", said, A="x", B="y", answer=["A", "B", "A", "B", "A", "B", "B"])
    read_by_host = pandas.read_excel(path)
    read_by_host["prediction"] = [str(one) for one in read_by_host["prediction"]]
    result = path.with_name("m_MMStar_openai_result.xlsx")
    read_by_host.assign(hit=[1, 1, 0, 0, 0, 0, 1]).to_excel(result, index=False)
    (tmp_path / "m" / "m_MMStar_acc.csv").write_text(f'"split","Overall"\n"none","{3 / 7}"\n')
    entry = only_rates(tmp_path)
    assert "openai_result" in entry.origin.scoring and entry.counts["right"] == 3
    read_by_host.assign(hit=[1, 1, 0, 0, 0, 0, 1], prediction="other").to_excel(result, index=False)
    assert "read by rules" in only_rates(tmp_path).origin.scoring


@pytest.mark.parametrize("suffix", [".xlsx", ".tsv"])
def test_the_hosts_scores_of_answers_that_it_has_read_back_as_missing(tmp_path, suffix):
    said = ["A", "", "I take the second", "NA", "B"]
    path = write(tmp_path, "m", "MMStar", said, suffix=suffix, A="x", B="y", answer=["A", "B", "B", "A", "A"])
    frame = pandas.read_csv(path, sep="\t") if suffix == ".tsv" else pandas.read_excel(path)
    frame["prediction"] = [str(answer) for answer in frame["prediction"]]
    frame.assign(hit=[1, 0, 1, 0, 0]).to_excel(path.with_name("m_MMStar_openai_result.xlsx"), index=False)
    path.with_name("m_MMStar_acc.csv").write_text('"split","Overall"\n"none","0.4"\n')
    assert list(frame["prediction"]).count("nan") == 2
    entry = only_rates(tmp_path)
    assert "openai_result" in entry.origin.scoring and entry.counts["right"] == 2


def test_the_hosts_scores_of_single_answers_where_its_figure_is_another_mean_of_them(tmp_path):
    said = ["A", "B", "I take the first", "B"]
    path = write(tmp_path, "m", "MMVP", said, A="x", B="y", answer=["A", "A", "A", "B"])
    pandas.read_excel(path).assign(hit=[1, 0, 1, 1]).to_excel(path.with_name("m_MMVP_openai_result.xlsx"), index=False)
    path.with_name("m_MMVP_acc.csv").write_text('"Average","Overall"\n"0.75","0.5"\n')
    entry = only_rates(tmp_path)
    assert entry.counts == {"right": 3, "wrong": 1} and "openai_result" in entry.origin.scoring
    assert any("0.5" in problem for problem in entry.origin.problems)
