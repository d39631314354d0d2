"""Requests that no anchor may repeat, and how near two requests are."""

import csv
import json
import re
from functools import cache

from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

import vlmguard_plugin as vg
from helpers.places import REPOSITORY

LONGEST = 200
"""Characters of a request; longer texts in data files are answers and templates."""
NEAR = 0.65
"""Cosine of two requests' tf-idf vectors of character 3- and 4-grams, from which one repeats the other."""
GRAMS = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4), n_features=2**18, alternate_sign=False, norm=None)
ASKED = re.compile(r"\w+\W+\w+\W+\w+\W+\w+|\w.*\?$|[\u4e00-\u9fff]{6}")
"""What at least stands in a request: four words, a question mark or six Chinese characters; not a mere phrase."""


def held_out():
    """The requests of the demo, which guards are judged by."""
    with (REPOSITORY / "vlmguard_plugin/demo/requests.csv").open(encoding="utf-8", newline="") as opened:
        requests = {row["request"] for row in csv.DictReader(opened)}
    with (REPOSITORY / "vlmguard_plugin/pictures/picture_requests.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    return sorted(requests | {row[column] for row in rows for column in ("request", "spoken")})


def texts_in(folder):
    """All texts of the length of a request in the csv, JSON and text files under a folder."""
    csv.field_size_limit(2**30)
    texts = set()
    for path in sorted(folder.rglob("*")):
        if path.name in ("SOURCE.txt", "LICENSE", "README.md") or path.suffix not in (
            ".csv",
            ".json",
            ".jsonl",
            ".txt",
        ):
            continue
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            texts.update(cell for row in csv.reader(content.splitlines(keepends=True)) for cell in row)
        elif path.suffix == ".txt":
            texts.update(content.splitlines())
        else:
            documents = content.splitlines() if path.suffix == ".jsonl" else [content]
            texts.update(text for document in documents for text in strings_of(json.loads(document)))
    asked = {" ".join(text.split()) for text in texts if len(text) <= LONGEST}
    return sorted(text for text in asked if ASKED.search(text))


def strings_of(value):
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_of(part)


def too_near(own, others):
    """(own, other) requests of which one repeats the other. Requests of one group, as own names it, are not compared.

    own: [(group, request)]. others: requests of any source; None compares own requests with each other.
    """
    groups, requests = [group for group, _ in own], [request for _, request in own]
    mine = vectors_of(requests)
    near = (mine @ vectors_of(others).T if others is not None else mine @ mine.T).tocoo()
    which = near.data >= NEAR
    found = list(zip(near.row[which].tolist(), near.col[which].tolist()))
    if others is not None:
        return [(requests[row], others[column]) for row, column in found]
    return [
        (requests[row], requests[column]) for row, column in found if row < column and groups[row] != groups[column]
    ]


def vectors_of(requests):
    """Unit vectors of requests, sparse [N, features]: what is frequent in the package's anchors counts for little."""
    return frequencies().transform(GRAMS.transform(requests))


@cache
def frequencies():
    """How frequent each n-gram is in the package's anchors."""
    requests = [
        request
        for name in ("how_to", "varied")
        for pair in vg.load_anchors(name).pairs
        for request in (pair.harmful, pair.harmless)
    ]
    return TfidfTransformer(sublinear_tf=True).fit(GRAMS.transform(requests))
