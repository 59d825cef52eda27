"""``--report`` and ``--figures`` of ``check`` and ``protect``: what is watched for them, and what is written."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from dadfi_fast.errors import UsageError

if TYPE_CHECKING:
    from dadfi_fast.check.callbacks import Callback
    from dadfi_fast.check.gallery import Gallery
    from dadfi_fast.check.report.facts import Setting
    from dadfi_fast.check.result import CheckResult
    from dadfi_fast.check.visibility import Visibility
    from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel

F = TypeVar("F", bound=Callable[..., Any])
#: Photos on which is measured how visible the change is, unless the user names another number.
VISIBILITY: Final = 2


def options(command: F) -> F:
    """``--report`` and ``--figures``."""
    page = click.option(
        "--report",
        metavar="FILE.html",
        type=click.Path(path_type=Path),
        help="Write a self-contained HTML page with the pictures, their fakes and the figures.",
    )
    figures = click.option(
        "--figures",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Write the figures as PNG and SVG files (needs the extra evaluate).",
    )
    return page(figures(command))


class Reporter:
    """What the two options ask for; nothing where neither is given.

    Args:
        page: of ``--report``.
        figures: of ``--figures``.

    Raises:
        UsageError: the page's name is that of no page, or matplotlib is missing.
        DiskError: one of them cannot be written; found out now, before minutes of work.
    """

    def __init__(self, page: Path | None, figures: Path | None) -> None:
        self._page, self._figures = page, figures
        self._gallery: Gallery | None = None
        self._traces: Visibility | None = None
        self._setting: Setting | None = None
        if page or figures:
            from dadfi_fast.check.report.file import prepare, prepare_folder

            if page:
                prepare(page)
            if figures:
                if importlib.util.find_spec("matplotlib") is None:
                    raise UsageError("--figures needs matplotlib. Run: pip install 'dadfi-fast[evaluate]'")
                prepare_folder(figures)

    @property
    def visibility(self) -> int:
        """Photos whose visibility the page wants to know, where nobody was asked for a number."""
        return VISIBILITY if self._page else 0

    def begin(
        self,
        total: int,
        *,
        models: Sequence[DeepfakeModel],
        classifier: AttributeModel,
        detector: str,
        folder: Path,
    ) -> list[Callback]:
        """Who looks on while ``total`` files are checked.

        Args:
            total: how many.
            models: that are run.
            classifier: that says which attributes the photos have.
            detector: what finds the faces, and why.
            folder: with the protected files and perhaps a manifest.
        """
        if not (self._page or self._figures):
            return []
        from dadfi_fast.check.gallery import Gallery, plan
        from dadfi_fast.check.manifest_summary import read_manifest_summary
        from dadfi_fast.check.report.facts import Setting
        from dadfi_fast.check.visibility import Visibility
        from dadfi_fast.cli.train import invocation
        from dadfi_fast.deepfakes.registry import deepfake_cards

        known, run = deepfake_cards(), {model.name for model in models}
        others = [known[name] for name in known if name not in run]
        self._setting = Setting(models, classifier, detector, invocation(), others, read_manifest_summary(folder))
        self._traces = Visibility()
        if self._page:
            self._gallery = Gallery(plan(total, sum(len(model.edit_names) for model in models)))
        return [watch for watch in (self._traces, self._gallery) if watch]

    def write(self, verdict: CheckResult, *, say: Callable[[str], object]) -> None:
        """Write what was asked for; ``say`` is told where it is.

        Raises:
            DiskError: the disk is full.
        """
        if self._setting is None or self._traces is None:
            return
        if self._figures:
            from dadfi_fast.check.figures import write_figures

            sizes = {model.name: model.image_size for model in self._setting.models}
            written = write_figures(verdict, self._traces, self._figures, sizes=sizes)
            say(f"figures: {', '.join(str(path) for path in written)}")
        if self._page and self._gallery:
            from dadfi_fast.check.report.file import write
            from dadfi_fast.check.report.page import page

            size = write(self._page, page(verdict, self._gallery, self._traces, self._setting))
            say(f"report: {self._page} ({size / 1e6:.1f} MB)")
