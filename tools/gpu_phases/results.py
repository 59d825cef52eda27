"""Rows as they come, the contact sheets in one picture, and the summary at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dadfi_fast.bench.rows import Row, append, package
from gpu_phases.plan import FAMILIES, Plan

ROWS = "rows.jsonl"


class Notes:
    """Writes rows down at once, and says them in the log."""

    def __init__(self, plan: Plan) -> None:
        import torch

        self._plan = plan
        on_gpu = plan.on_gpu and torch.cuda.is_available()
        self.gpu = {"gpu": torch.cuda.get_device_name(plan.device)} if on_gpu else {}
        self.driver = f"{package('torch')}, CUDA {torch.version.cuda}" if on_gpu else package("torch")

    def rows(self, rows: Iterable[Row]) -> None:
        """Write measured ``rows`` down."""
        done = [replace(row, commit=self._plan.commit) if self._plan.commit else row for row in rows]
        append(self._plan.out / ROWS, done)
        for row in done:
            print(line(row.to_dict()), flush=True)

    def figure(self, case: str, value: float, unit: str, *, n: int = 1, provider: str = "", **config: Any) -> None:
        """Write down a single figure."""
        provider = provider or f"torch-{self._plan.device}"
        self.rows([Row(case, provider, unit, value, value, value, n, self.gpu | config, self.driver)])


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    config = row["config"]
    more = f"  {config['share_of_copy']:.2f} of a copy" if "share_of_copy" in config else ""
    more += f"  {config['reason']}" if "reason" in config else ""
    return f"{row['case']:58} {row['provider']:24} {row['p50']:12.5g} {row['unit']}{more}"


def finish(plan: Plan) -> None:
    """Put the sheets together, print all rows, and leave nothing in the results that is none."""
    try:
        _sheets(plan)
    except Exception as error:  # the figures count, the pictures come on top
        print(f"no contact sheets: {error}")
    (plan.out / "plan.json").unlink(missing_ok=True)
    path = plan.out / ROWS
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        print(line(json.loads(text)))


def _sheets(plan: Plan) -> None:
    """The last sheet of each training side by side: picture, then its edits; then the generator's, below."""
    from PIL import Image

    folders = [plan.folder(family) for family in FAMILIES] + [plan.work / "protector"]
    last = [sorted(folder.glob("sheet-*.png")) for folder in folders]
    pictures = [Image.open(sheets[-1]).convert("RGB") for sheets in last if sheets]
    if not pictures:
        return
    whole = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)))
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width
    whole.save(plan.out / "sheets.jpg", quality=90)
