"""Whole photos, as people have them: protected as ``protect`` does it, format kept, and judged face by face.

The adversary sees the written file only: he finds and cuts the faces in it himself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from dadfi_fast.check.conditions import WRITTEN, Condition
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.result import CheckResult
from dadfi_fast.evaluate.experiment import Result, Setup
from dadfi_fast.evaluate.methods import generators
from dadfi_fast.evaluate.protocol import Form, open_protocol
from dadfi_fast.evaluate.robustness import COLUMNS, answer, draw, units
from dadfi_fast.evaluate.visibility import SEEN, SEEN_TEXT, visibility, visibility_after
from dadfi_fast.metrics.perceptual import need

#: What `protect` does unless it is told otherwise.
AS_PROTECT: Final = Form("keep", "copy")
TEXT: Final = """\
- written: the file as `protect` writes it, in the photo's own format (a JPEG with its own tables); jpeg: compressed
  once more at this quality, 4:2:0; resize: by this factor, the original likewise; blur: Gaussian, this window in
  pixels. Then the adversary's own detection and crop, of that file.
- SR_mask: share of fakes, of all faces, whose d_mask is above 0.05; SR_all: share of photos in which every model fails
  at every edit of every face (the same for all models of a condition). Photos in which `protect` finds no face are left
  out, as it does not protect them; n written are the others.
- null: the photo written likewise with nothing added: what the codec and the conditions alone do; noise: uniform noise
  of the same strength, all over the original, and never encoded.
"""


def run(setup: Setup) -> Result:
    """Measure the generators of ``setup`` on photos, against its models.

    Raises:
        UsageError: a model or a generator is unknown.
        DataError: the pictures cannot be read.
        NothingToDo: there is no face in any of them.
        BackendMissing: FLIP is not installed.
    """
    need("flip_evaluator")
    methods = generators(setup)
    with open_protocol(setup) as protocol:
        rows = protocol.measured("whole-photo", units(protocol, methods, AS_PROTECT, see=_seen))
    columns = COLUMNS | SEEN | {"n_written": "n written"}
    return Result("whole-photo", rows, columns, TEXT + SEEN_TEXT, partial(draw, rows=rows), answer(rows))


def _seen(result: CheckResult, pairs: Sequence[Pair], condition: Condition) -> dict[str, Any]:
    seen = visibility(result, pairs) if condition is WRITTEN else visibility_after(condition, pairs)
    return seen | {"n_written": len(pairs)}
