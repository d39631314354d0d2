"""Words of Latin letters with Greek or Cyrillic ones that look like them: read as a person reads them."""

from __future__ import annotations

import re
import unicodedata

DISGUISED = re.compile("(?=[^\\W\\d_]*[a-zA-Z])(?=[^\\W\\d_]*[\u0370-\u04ff])[^\\W\\d_]+")
"""A word with letters of both kinds."""
CYRILLIC = (
    ("\u0430\u0441\u0435\u0456\u0458\u043e\u0440\u0455\u0445\u0443\u04bb\u0501\u043a\u043c\u0442", "aceijopsxyhdkmt"),
    ("\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405\u0422\u0425\u0423", "ABCEHIJKMOPSTXY"),
)
GREEK = (
    ("\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7", "aeikvoptux"),
    ("\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7", "ABEZHIKMNOPTYX"),
)
ALONE = re.compile("(?<![^\\W_])[\u0399\u0406](?= +[a-zA-Z\u2019']*[a-zA-Z])")
"""A letter like "I" by itself, before a word of Latin letters."""
UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""What parts a word and isn't seen."""
LETTERS = {ord(letter): latin for letters, latins in (*CYRILLIC, *GREEK) for letter, latin in zip(letters, latins)}


def undisguised(text: str) -> str:
    """A text in Unicode's compatibility form (NFKC), with the Latin letters that such words are meant to be read with.

    A word of one alphabet stays as it is, and so does a letter without a double ("\u0394E").
    """
    text = unicodedata.normalize("NFKC", text)
    if text.isascii():
        return text
    return ALONE.sub("I", DISGUISED.sub(lambda word: word[0].translate(LETTERS), UNSEEN.sub("", text)))
