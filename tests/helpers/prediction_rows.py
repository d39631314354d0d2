"""Prediction files as the hosts write them, and answers of each kind to put in them."""

import json

import pandas

NO = "I'm sorry, but I can't assist with that."

YES = "A stand-in for an answer."

BABBLE = "the " * 20

LOST = "Failed to obtain answer via API."


def write(folder, model, dataset, predictions, run="", suffix=".xlsx", **columns):
    """A prediction file as the host writes it; predictions is a list of answers."""
    place = folder / model / run
    place.mkdir(parents=True, exist_ok=True)
    facts = {"index": range(1, len(predictions) + 1), "question": [f"Question {n}?" for n in range(len(predictions))]}
    frame = pandas.DataFrame({**facts, **columns, "prediction": predictions})
    path = place / f"{model}_{dataset}{suffix}"
    if suffix == ".xlsx":
        frame.to_excel(path, index=False, engine="xlsxwriter")
    elif suffix == ".json":
        path.write_text(json.dumps(frame.to_dict("records")))
    else:
        frame.to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False, quoting=1)
    return path
