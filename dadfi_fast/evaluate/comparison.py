"""All attacks on the same pictures, under the same bound (the paper's Fig. 4 to 6): what breaks, and what is seen.

Every attack goes the way of ``protect`` in place of the generator, and is judged on what was written. Its crop is not
the adversary's, and its perturbation is resized with the face: what a method loses by that, it loses in use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dadfi_fast.check.conditions import WRITTEN, Condition, parse
from dadfi_fast.check.fake_sets import FakeSets
from dadfi_fast.check.inception import Inception
from dadfi_fast.check.result import CheckResult
from dadfi_fast.evaluate.cmua_comparison import BETTER, judged, words
from dadfi_fast.evaluate.compared_methods import facts, gather, informed
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.heat_map import HeatMap, heat_maps
from dadfi_fast.evaluate.methods import Method
from dadfi_fast.evaluate.protocol import Protocol, noise_before, open_protocol
from dadfi_fast.evaluate.visibility import SEEN, SEEN_TEXT, visibility, visibility_after
from dadfi_fast.metrics.perceptual import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What happens to the written file; `WRITTEN` comes first.
CONDITIONS: Final = tuple(map(parse, ("jpeg:90", "jpeg:75", "resize:0.5")))
#: The row of the control that goes over the whole picture; the attack ``noise`` goes the way of the others.
PLAIN_NOISE: Final = "noise, all over"
COLUMNS: Final = {
    "method": "method",
    "model": "model",
    "sr_mask": "SR_mask",
    **{f"sr_mask_{condition.name}": condition.name for condition in CONDITIONS},
    "d_mask": "d_mask",
    "d_pix": "d_pix",
    "fid": "FID",
    "fid_n": "n of FID",
    **SEEN,
    BETTER: "better than cmua",
}
TEXT: Final = """\
- SR_mask: share of fakes whose d_mask (mean squared difference of the two fakes where the edit changed the picture) is
  above 0.05; for the written file (PNG), and after JPEG of this quality (4:2:0) and after a resize by this factor. The
  adversary detects and crops himself. d_pix: the same distance over the whole picture.
- FID: Frechet distance between the fakes of the originals and those of the written files, n in each set, pooled over
  the edits.
- All attacks have the same bound and work on the same faces (256 px; a generator in its own size). Those that ask
  deepfake models are given the models of the table, all their edits, and the attributes that the classifier sees; what
  is made beforehand (cmua, moma, generators) never saw these pictures.
- The perturbation of the crop is resized with the face, and the adversary's crop is another one: white-box attacks,
  too, are judged after that, as in use, and not on the very pixels that they were fitted to.
- better than cmua: more fakes of this model broken after JPEG 75, and a lower FLIP.
- CMUA's own table, on the official models and CelebA, nothing compressed: SR_mask 1.00 StarGAN, 0.9988 AGGAN, 0.8708
  AttGAN, 0.9987 HiSD.
- null: nothing is added; noise: uniform noise instead of a perturbation; noise, all over: on every pixel of the
  original, not only in the face's crop.
"""


def run(setup: Setup) -> Result:
    """Compare the methods of ``setup``.

    Raises:
        UsageError: a name is unknown, or something that a named method needs is missing.
        DataError: the pictures cannot be read.
        BackendMissing: FLIP, or the network of the Frechet distance where that is asked for, is not installed.
    """
    need("flip_evaluator")
    network = Inception() if setup.fid else None
    with open_protocol(setup) as protocol:
        compared = gather(protocol)
        conditions = [condition.name for condition in CONDITIONS]
        units = [
            protocol.unit(
                method.name,
                partial(_judged, protocol, informed(protocol, compared, method), network),
                method,
                **facts(protocol, method),
                conditions=conditions,
            )
            for method in compared.methods
        ]
        controls = partial(_judged, protocol, protocol.unchanged(), network, noise=True)
        units.append(protocol.unit("null and noise", controls, conditions=conditions))
        rows = judged(protocol.measured("comparison", units))
    answer = words(rows, {method.name: method.card for method in compared.methods if method.card})
    text, draw = TEXT + SEEN_TEXT + compared.text, partial(_draw, rows=rows)
    return Result("comparison", rows, COLUMNS, text, draw, answer, arrays=compared.arrays)


def _judged(protocol: Protocol, method: Method, network: Inception | None, *, noise: bool = False) -> Iterator[Row]:
    """The rows of a method, and of noise on the same originals where that is asked for."""
    plain = (WRITTEN, *CONDITIONS)
    noisy = [noise_before(protocol.setup.strength, condition) for condition in plain] if noise else []
    kept = [WRITTEN.name, *(condition.name for condition in noisy[:1])]
    sets = FakeSets(network, count=protocol.setup.fid, conditions=kept)
    with protocol.written(method) as pairs:
        result = protocol.check(pairs, conditions=[*CONDITIONS, *noisy], watchers=[sets])
        seen = visibility(result, pairs)
        noise_seen = visibility_after(noisy[0], pairs) if noise else {}
    yield from _rows(protocol, method, result, sets, plain, seen)
    if noise:
        yield from _rows(protocol, Method(PLAIN_NOISE, method.attack), result, sets, noisy, noise_seen)


def _rows(
    protocol: Protocol,
    method: Method,
    result: CheckResult,
    sets: FakeSets,
    conditions: Sequence[Condition],
    seen: Mapping[str, Any],
) -> Iterator[Row]:
    first = conditions[0].name
    for model in result.models:
        scores = [result.scores(model, condition.name) for condition in conditions]
        others = zip(CONDITIONS, scores[1:], strict=True)
        yield {
            "method": method.name,
            "model": model,
            "sr_mask": scores[0].sr_mask,
            **{f"sr_mask_{condition.name}": each.sr_mask for condition, each in others},
            "d_mask": scores[0].d_mask,
            "d_pix": scores[0].d_pix,
            "n_empty": scores[0].n_empty,
            "fid": round(sets.distance(model, first), 4),
            "fid_n": sets.n(model, first) or None,
            **seen,
            **facts(protocol, method),
            **protocol.facts(method, [model]),
        }


def _draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    """SR_mask by method and model, a matrix for each condition; what can be seen stands beside the methods' names."""
    methods = {row["method"]: row for row in rows}
    models = list(dict.fromkeys(row["model"] for row in rows))
    by_place = {(row["method"], row["model"]): row for row in rows}

    def matrix(title: str, key: str) -> HeatMap:
        return HeatMap(title, [[by_place[method, model][key] for model in models] for method in methods], 1)

    shown = [matrix("SR_mask", "sr_mask"), *(matrix(c.name, f"sr_mask_{c.name}") for c in CONDITIONS)]
    labels = [f"{method}{_worded(row)}" for method, row in methods.items()]
    plain = [[False] * len(models)] * len(methods)
    heat_maps(figure, shown, rows=labels, columns=models, marked=plain, mark="")


def _worded(row: Row) -> str:
    """What can be seen, for a label; nothing where nothing was written, or nothing changed."""
    return f" ({row['psnr']:.1f} dB, FLIP {row['flip']:.3f})" if math.isfinite(row.get("psnr", math.nan)) else ""
