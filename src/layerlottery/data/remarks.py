"""What a reader leaves out of an image set or changes in it: counted, named in the log and in facts.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from layerlottery.errors import LayerLotteryError

# names that a remark keeps of each kind
_NAMED = 3


@dataclass
class Remarks:
    """Images lost or changed, by what befell them. With `strict` none may be."""

    strict: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str) -> None:
        """Note one file or image. Raises LayerLotteryError naming it where the settings are strict."""
        if self.strict:
            raise LayerLotteryError(f"{name}: {what}; strict allows only sets that are read whole, as they are")
        self.counts[what] = self.counts.get(what, 0) + 1
        if self.counts[what] <= _NAMED:
            self.names.setdefault(what, []).append(name)

    def line(self) -> str:
        """All of them in one line, empty when there are none."""
        return "; ".join(
            f"{count} {what} ({', '.join([*map(ascii, self.names[what]), *['…'] * (count > _NAMED)])})"
            for what, count in self.counts.items()
        )

    def facts(self) -> dict[str, dict[str, object]]:
        """The same for facts.json: count and first names by kind."""
        return {what: {"count": count, "first": self.names[what]} for what, count in self.counts.items()}
