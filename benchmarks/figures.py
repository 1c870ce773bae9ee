"""How every benchmark ends: a table for people, and as the last line one JSON object for programs."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Figure:
    """One measured figure.

    Args:
        name: What was measured.
        value: How much.
        unit: Of what.
        bar: What it must keep to, such as `< 75` or `>= 0.85`; empty where there is none.
    """

    name: str
    value: float
    unit: str
    bar: str = ""

    @property
    def ok(self) -> bool:
        """Whether it keeps to its bar."""
        if not self.bar:
            return True
        sign, limit = self.bar.split()
        return self.value < float(limit) if sign == "<" else self.value >= float(limit)


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios within turns: a machine that is shared changes from one to the next."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def show(benchmark: str, figures: list[Figure]) -> None:
    """Prints the table and the JSON line."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        verdict = "" if not figure.bar else "ok" if figure.ok else "SHORT OF ITS BAR"
        print(f"{figure.name:<{width}}  {figure.value:>10.3f} {figure.unit:<10} {figure.bar:<10} {verdict}")
    rows = [asdict(figure) | {"value": round(figure.value, 4), "ok": figure.ok} for figure in figures]
    print(json.dumps({"benchmark": benchmark, "figures": rows, "machine": machine()}))


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": cpu or platform.processor(), "cores": os.cpu_count(), "python": platform.python_version()}


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
