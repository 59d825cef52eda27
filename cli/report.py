"""``--report`` of ``check`` and ``protect``: what is watched for it, and what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from dadfi_fast.check.callbacks import Callback
    from dadfi_fast.check.gallery import Gallery
    from dadfi_fast.check.report.facts import Setting
    from dadfi_fast.check.result import CheckResult
    from dadfi_fast.check.visibility import Visibility
    from dadfi_fast.deepfakes.encoders import EncoderModel
    from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel

F = TypeVar("F", bound=Callable[..., Any])
#: Photos on which is measured how visible the change is, unless the user names another number.
VISIBILITY: Final = 4


def option(command: F) -> F:
    """``--report``."""
    return click.option(
        "--report",
        metavar="FILE.html",
        type=click.Path(path_type=Path),
        help="Write a self-contained HTML page with the photos, their fakes and the figures.",
    )(command)


class Reporter:
    """What the option asks for; nothing where it is not given.

    Args:
        page: of ``--report``.

    Raises:
        UsageError: the page's name is that of no page.
        DiskError: it cannot be written; found out now, before minutes of work.
    """

    def __init__(self, page: Path | None) -> None:
        self._page = page
        self._gallery: Gallery | None = None
        self._traces: Visibility | None = None
        self._setting: Setting | None = None
        if page:
            from dadfi_fast.check.report.file import prepare

            prepare(page)

    @property
    def visibility(self) -> int:
        """Photos whose visibility the page wants to know, where nobody was asked for a number."""
        return VISIBILITY if self._page else 0

    def begin(
        self,
        total: int,
        *,
        models: Sequence[DeepfakeModel],
        encoders: Sequence[EncoderModel] = (),
        classifier: AttributeModel,
        detector: str,
        folder: Path,
    ) -> list[Callback]:
        """Who looks on while ``total`` files are checked.

        Args:
            total: how many.
            models: that are run.
            encoders: that are run.
            classifier: that says which attributes the photos have.
            detector: what finds the faces, and why.
            folder: with the protected files and perhaps a manifest.
        """
        if not self._page:
            return []
        from dadfi_fast.check.gallery import Gallery, plan
        from dadfi_fast.check.manifest_summary import read_manifest_summary
        from dadfi_fast.check.report.facts import Setting
        from dadfi_fast.check.visibility import Visibility
        from dadfi_fast.cli.train import invocation
        from dadfi_fast.deepfakes.registry import deepfake_cards, encoder_cards

        run = {*(model.name for model in models), *(encoder.name for encoder in encoders)}
        others = [known[name] for known in (deepfake_cards(), encoder_cards()) for name in known if name not in run]
        scope = read_manifest_summary(folder)
        self._setting = Setting(models, classifier, detector, invocation(), others, scope, encoders)
        self._traces = Visibility()
        self._gallery = Gallery(plan(total, sum(len(model.edit_names) for model in models)))
        return [self._traces, self._gallery]

    def write(self, result: CheckResult, *, say: Callable[[str], object]) -> None:
        """Write what was asked for; ``say`` is told where it is.

        Raises:
            DiskError: the disk is full.
        """
        if not (self._page and self._setting and self._traces and self._gallery):
            return
        from dadfi_fast.check.report.file import write
        from dadfi_fast.check.report.page import page

        size = write(self._page, page(result, self._gallery, self._traces, self._setting))
        say(f"report: {self._page} ({size / 1e6:.1f} MB)")
