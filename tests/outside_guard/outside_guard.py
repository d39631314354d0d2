"""A method of another package: the mean harmless state is taken from the last prompt token."""

from dataclasses import dataclass

from vlmguard_plugin import Edits, RepresentationGuard, RepresentationSettings, band, record_anchors


@dataclass(frozen=True)
class OutsideSettings(RepresentationSettings):
    alpha: float = -3.0
    positions: str = "last"


class Outside(RepresentationGuard):
    """Outside: `h' = h - 3 * mean(harmless)` at the last prompt token."""

    name = "outside"
    Settings = OutsideSettings

    def default_layers(self, num_layers):
        return band(num_layers, 0.5)

    def fit_tensors(self, subject, anchors, progress):
        _, harmless = record_anchors(subject, anchors, self.name, progress)
        return {"mean": harmless.mean(dim=0)}, {}

    def edits(self, subject, queries):
        return Edits(
            {
                layer: Add(self.settings.alpha * self.tensors["mean"][layer])
                for layer in self.layers(subject.num_layers)
            },
            self.settings.positions,
        )


@dataclass(frozen=True)
class Add:
    added: object

    def decide(self, last, prompts):
        return self.added.to(last.device).expand_as(last)

    def apply(self, hidden, decision):
        return hidden + decision
