"""Turns of a conversation, written short."""

import vlmguard_plugin as vg


def said(role, *parts):
    """A turn of words (str) and images."""
    return vg.Turn(role, tuple(("text" if isinstance(part, str) else "image", part) for part in parts))
