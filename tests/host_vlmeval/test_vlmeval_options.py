"""What VLMEvalKit's command can be told: judges, configurations, folders; and what goes wrong in a run."""

import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from helpers.processes import forked_python as python
from helpers.small_sets import reseal, write_small_sets
from helpers.tiny_models import tiny_llava, tiny_processor
from helpers.vlmeval_command import predictions
from helpers.vlmeval_form import COMMAND_FILE, WORDS

from vlmguard_plugin.benchmarks import BENCHMARKS
from vlmguard_plugin.hosts.vlmeval.datasets import named_judge
from vlmguard_plugin.leaderboard import leaderboard

pytestmark = pytest.mark.host


def test_every_registered_set_runs(place, tmp_path):
    place, environment = place
    write_small_sets(tmp_path / "data")
    python(
        *WORDS, "--data", *BENCHMARKS, "--model", "llava", "--work-dir", tmp_path / "out",
        environment={**environment, "LMUData": str(tmp_path / "data")},
    )  # fmt: skip
    without = [name for name in BENCHMARKS if not (tmp_path / "out" / "llava" / f"llava_{name}_score.csv").is_file()]
    assert not without
    judges = {pd.read_csv(path)["judge"][0] for path in (tmp_path / "out" / "llava").glob("*_score.csv")}
    assert judges == {"rules"}, "the host names a judge of its own for names that hold one of its sets'"


@pytest.mark.parametrize(
    "words, hands, judge",
    [
        ([], "gpt-4o-mini", "rules"),
        ([], "gpt-4o", "rules"),  # to names with MMDU in them
        ([], "llama31-8b", "rules"),  # with VDC
        (["--judge", "gpt-4o"], "gpt-4o", "gpt-4o"),
        (["--judge-args", '{"model": "gpt-4o"}'], "gpt-4o", "gpt-4o"),
    ],
)
def test_a_judge_that_only_the_host_names_is_not_asked(words, hands, judge, monkeypatch):
    """Whatever else lies in the environment, a key for instance: nothing is sent to whom the user hasn't named."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    command = [str(COMMAND_FILE), "--data", "Requests_mine_text", "--model", "llava", *words]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(sys, "orig_argv", ["python", *command])
    assert named_judge({"model": hands, "nproc": 1}).name == judge


class Labels(BaseHTTPRequestHandler):
    """An endpoint that calls every answer an attack success, and finds no words for requests to steal."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = json.loads(asked["messages"][1]["content"])["request"]
        self.server.asked.append(request)
        self.server.keys.add(self.headers["Authorization"])
        said = "no idea what you mean" if "steal" in request else '{"label": "complies", "reason": "stub of a judge"}'
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_hosts_own_judge_options(place, tmp_path):
    """A judge that gives no label leaves its row unknown, and the rate withheld: never safe."""
    place, environment = place
    server = ThreadingHTTPServer(("127.0.0.1", 0), Labels)
    server.asked, server.keys = [], set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = python(
            *WORDS, "--data", "Requests_mine_text", "--model", "llava", "--work-dir", tmp_path / "out",
            "--judge", "some-judge", "--judge-base-url", f"http://127.0.0.1:{server.server_port}/v1",
            "--judge-key", "sk-my-secret",
            environment={**environment, "VLMGUARD_MAX_NEW_TOKENS": "8"},
        )  # fmt: skip
    finally:
        server.shutdown()
    assert server.keys == {"Bearer sk-my-secret"}
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any("--judge-key" in path.read_text() for path in written if path.name == "status.json")
    assert not [path for path in written if b"my-secret" in path.read_bytes()]
    assert "my-secret" not in done.stdout + done.stderr and "'key': '***'" in done.stdout + done.stderr
    scores = pd.read_csv(tmp_path / "out" / "llava" / "llava_Requests_mine_text_score.csv").set_index("measure")
    assert set(scores["judge"]) == {"some-judge"}
    labels = [
        json.loads(line)["label"]
        for line in (tmp_path / "out/vlmguard-judgements/some-judge.jsonl").read_text().splitlines()
    ]
    answered = predictions(tmp_path / "out", "llava", "Requests_mine_text")
    lost = {
        request for request in server.asked if "steal" in request
    }  # answers that are language at all get to the judge
    assert lost and set(server.asked) <= set(answered["question"]) and "unknown" not in labels
    attack = scores.loc["attack_success"]
    assert (attack["unknown"], attack["n"]) == (len(lost), 5 - len(lost)) and pd.isna(attack["percent"])


def test_upstreams_run_py(place):
    """Upstream keeps the same script at the root of its repository."""
    place, environment = place
    shutil.copy(COMMAND_FILE, place / "run.py")
    python(
        "run.py",
        "--data",
        "Requests_mine_text",
        "--model",
        "llava_cmrm",
        "--work-dir",
        "upstream",
        environment=environment,
        cwd=place,
    )
    assert len(predictions(place / "upstream", "llava_cmrm", "Requests_mine_text")) == 10


def test_a_damaged_picture_costs_its_row_alone(place):
    place, environment = place
    source = place / "data" / "MCQ_tiny.tsv"
    frame = pd.read_csv(source, sep="\t", dtype=str, keep_default_na=False)
    frame.loc[2, ["image", "image_path"]] = ["bm90IGEgcGljdHVyZQ==" * 10, "broken.png"]
    frame.to_csv(place / "data" / "MCQ_damaged.tsv", sep="\t", index=False)
    shutil.copy(place / "data" / "MCQ_tiny.vlmguard.json", place / "data" / "MCQ_damaged.vlmguard.json")
    shutil.copy(source, place / "data" / "MCQ_changed.tsv")
    shutil.copy(place / "data" / "MCQ_damaged.vlmguard.json", place / "data" / "MCQ_changed.vlmguard.json")
    with (place / "data" / "MCQ_changed.tsv").open("a") as stream:
        stream.write(" ")
    reseal(place / "data" / "MCQ_damaged.tsv")
    done = python(
        *WORDS,
        "--data",
        "MCQ_damaged",
        "MCQ_changed",
        "NoSuchSet",
        "FigStep",
        "--model",
        "llava",
        "--work-dir",
        place / "damaged",
        environment=environment,
    )
    answers = predictions(place / "damaged", "llava", "MCQ_damaged")["prediction"].astype(str)
    failed = answers.str.startswith("Failed to obtain answer")
    assert failed.tolist() == [False, False, True, False]
    assert "damaged.png" in answers[2] and "vlmguard: no answer" in done.stderr
    assert "FigStep is not prepared" in done.stdout + done.stderr
    assert "MCQ_changed.vlmguard.json describes (sha256 differs)" in done.stdout + done.stderr
    assert leaderboard(place / "damaged").blocks[0].entries[0].rates["accuracy"].unknown == 1


def test_a_config_file_names_any_checkpoint(place):
    place, environment = place
    config = {
        "model": {
            "mine_cmrm": {
                "class": "GuardedVLM",
                "model": str(place / "llava"),
                "guard": "cmrm",
                "alpha": 0.5,
                "layers": [1],
            }
        },
        "data": {"Requests_mine_blank": {"class": "SafetyRequests", "dataset": "Requests_mine_blank"}},
    }
    (place / "config.json").write_text(json.dumps(config))
    python(*WORDS, "--config", place / "config.json", "--work-dir", place / "config", environment=environment)
    assert len(predictions(place / "config", "mine_cmrm", "Requests_mine_blank")) == 10


def test_a_fitted_guard_by_folder(place):
    """Of this model it is used; of another one it is refused, in one error that names both."""
    import vlmguard_plugin as vg

    place, environment = place
    anchors = vg.load_anchors(environment["VLMGUARD_ANCHORS"])
    fits = {"mine": tiny_llava(), "other": tiny_llava(seed=5)}
    for name, model in fits.items():
        subject = vg.HuggingFaceSubject(model, tiny_processor())
        vg.build_guard("cmrm", alpha=0.25).fit(subject, anchors).save(place / f"guard-{name}")
        done = python(
            *WORDS, "--data", "Requests_mine_blank", "--model", "llava_cmrm", "--work-dir", place / name,
            environment={**environment, "VLMGUARD_GUARD_DIR": str(place / f"guard-{name}")},
        )  # fmt: skip
        assert "fit cmrm" not in done.stderr
    assert len(predictions(place / "mine", "llava_cmrm", "Requests_mine_blank")) == 10
    assert "fitted on a model with model fingerprint" in done.stdout + done.stderr
    assert not list((place / "other" / "llava_cmrm").glob("*.xlsx"))

    subject = vg.HuggingFaceSubject(fits["mine"], tiny_processor())
    vg.build_guard("cmrm", alpha=0.75).fit(subject, anchors).save(place / "guard-stronger")
    table = place / "mine" / "llava_cmrm" / "llava_cmrm_Requests_mine_blank.xlsx"
    answers = table.read_bytes()
    for kept, guard, refused in (("all", "stronger", True), ("half", "stronger", True), ("half", "mine", False)):
        if kept == "half":
            rows = pd.read_excel(table, keep_default_na=False)
            rows.head(5).to_excel(table, index=False)
        done = python(
            *WORDS, "--data", "Requests_mine_blank", "--model", "llava_cmrm", "--work-dir", place / "mine",
            "--reuse", environment={**environment, "VLMGUARD_GUARD_DIR": str(place / f"guard-{guard}")},
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert ("with another settings" in said and "leave --reuse out" in said) == refused, (kept, guard)
        if kept == "all":
            assert table.read_bytes() == answers
