"""Folders of fitted guards, changed so that their digests still agree."""

import hashlib
import json

import safetensors.torch

from vlmguard_plugin.guards.core.saved import digest_of


def rewrite(folder, tensors=None, /, **changes):
    """Change facts of a guard.json (at its top), and the tensors beside it; what is found wrong then is no digest."""
    facts = {**json.loads((folder / "guard.json").read_text()), **changes}
    if tensors is not None:
        content = safetensors.torch.save(tensors)
        (folder / "guard.safetensors").write_bytes(content)
        facts["tensors"] = {name: list(tensor.shape) for name, tensor in tensors.items()}
        facts["tensors_sha256"] = hashlib.sha256(content).hexdigest()
    facts["sha256"] = digest_of(facts)
    (folder / "guard.json").write_text(json.dumps(facts))
