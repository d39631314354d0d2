"""Set-up only: let a CUDA build of torchvision be imported beside a CPU build of torch.

Where both match this does nothing. Where torchvision's compiled operators can't be loaded, it declares the two
that its import insists on, so that libraries which only import torchvision go on working; calling them fails.
"""

import sys
from importlib.abc import MetaPathFinder


class _DeclareOperators(MetaPathFinder):
    """Runs just before torchvision registers its operators; finds no module itself."""

    library = None  # kept alive: the declarations go when it does

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision._meta_registrations":
            import torch
            from torchvision.extension import _has_ops

            if not _has_ops():
                type(self).library = torch.library.Library("torchvision", "DEF")
                for operator in ("nms", "qnms"):
                    self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _DeclareOperators())
