"""Whether protection works (the paper's Fig. 3): the fakes of written files, for every deepfake model, with controls.

Two rows a model are controls: ``null``, the unchanged picture written and read as the protected ones are, and
``noise``, uniform noise of the same strength on every pixel. The paper's own distance, from the original to the fake of
the protected picture, comes with what it is without protection: most of it is the edit, not the defence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.noise import Noise
from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.fake_sets import FakeSets
from dadfi_fast.check.inception import Inception
from dadfi_fast.check.result import CheckResult
from dadfi_fast.evaluate.bar_chart import Panel, bars
from dadfi_fast.evaluate.cmua_formula import success_unwritten
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.methods import NOISE, NULL, Method, Unchanged, generators
from dadfi_fast.evaluate.protocol import Protocol, noise_before, open_protocol
from dadfi_fast.types import Budget

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS: Final = {
    "method": "method",
    "model": "model",
    "n_edits": "edits",
    "d_pix": "d_pix",
    "sr": "SR",
    "d_mask": "d_mask",
    "sr_mask": "SR_mask",
    "n_empty": "empty masks",
    "fid": "FID",
    "fid_n": "n of FID",
    "d_original": "x to y'",
    "d_original_null": "x to y",
}
#: What the paper reports of each family, beside ours.
PAPER: Final = {"paper": "the paper's"}
REPORTED: Final = {
    "stargan": "d_pix > 0.06, SR_mask 1.00, FID 131.5",
    "stargan2": "d_pix > 0.06, FID 39.6",
    "stgan-sac": "d_pix > 0.06, SR_mask 0.79, FID > 30",
}
#: The least d_pix that the paper reports.
LEAST: Final = 0.06
#: What `cmua_formula` adds.
CMUA: Final = {"sr_cmua": "CMUA's success"}
TEXT: Final = """\
x is the picture, y its fake, y' the fake of the written file (PNG), after the adversary's own detection and crop.

- d_pix: mean squared difference of y and y', 0 to 4; d_mask: the same where the edit changed x. SR and SR_mask: share
  of fakes in which they are above 0.05; an empty mask (the edit changed nothing) is no success.
- FID: Frechet distance between the fakes y and the fakes y' of the same pictures and edits, n in each set, pooled over
  the edits. Compare it with other rows of the same n only.
- x to y': the paper's distance (Eq. 19 as a mean), from the original to the fake of the protected picture; x to y is
  what it is without protection.
- null: the unchanged picture, written and read likewise; noise: uniform noise of the same strength, all over it.
- the paper's: its Fig. 3, on models, pictures and an n of its own, so that its FID cannot be compared with ours; its
  "mask distance" of at most 1 stands for SR_mask.
"""

CMUA_TEXT: Final = """\
- CMUA's success: the share by the formula of CMUA-Watermark's evaluation, on pictures of 256 px that are neither
  rounded nor written, without detection: for comparison with its table only, which has, on the official models and
  CelebA: StarGAN 1.00, AGGAN 0.9988, AttGAN 0.8708, HiSD 0.9987.
"""


def run(setup: Setup) -> Result:
    """Measure the generators of ``setup`` against its models.

    Raises:
        UsageError: a model or a generator is unknown.
        DataError: the pictures cannot be read.
        BackendMissing: a Frechet distance is asked for and its network is not installed.
    """
    network = Inception() if setup.fid else None
    methods = generators(setup)
    with open_protocol(setup) as protocol:
        units = [protocol.unit(each.name, partial(_protected, protocol, each, network), each) for each in methods]
        rows = protocol.measured(
            "validity", [*units, protocol.unit("null and noise", partial(_controls, protocol, network))]
        )
    columns, text = (COLUMNS | CMUA, TEXT + CMUA_TEXT) if setup.cmua_compat else (COLUMNS, TEXT)
    return Result("validity", rows, columns | PAPER, text, partial(_draw, rows=rows), answer(rows))


def _protected(protocol: Protocol, method: Method, network: Inception | None) -> Iterator[Row]:
    sets = FakeSets(network, count=protocol.setup.fid)
    with protocol.written(method) as pairs:
        result = protocol.check(pairs, watchers=[sets])
    unwritten = _unwritten(method.attack, protocol)
    family = {model.name: model.family for model in protocol.models}
    for model in result.models:
        yield {
            "method": method.name,
            **figures(result, model, sets),
            **unwritten[model],
            "paper": REPORTED.get(family[model]),
            **protocol.facts(method, [model]),
        }


def answer(rows: Sequence[Row]) -> str:
    """Whether the generators of ``rows`` do what the paper's does, Markdown."""
    noise = {row["model"]: row for row in rows if row["method"] == NOISE}
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows if row["generator"]):
        own = [row for row in rows if row["method"] == method]
        shares = ", ".join(f"{row['model']} {row['sr_mask']:.3f}" for row in own)
        far = [row["model"] for row in own if row["d_pix"] > LEAST]
        which = f": {', '.join(far)}" if far else ""
        most = max(noise[row["model"]]["sr_mask"] for row in own)
        lines.append(
            f"**{method}** breaks (SR_mask): {shares}; noise of the same strength at most {most:.3f}. Its d_pix is "
            f"above the paper's {LEAST} on {len(far)} of {len(own)} models{which}."
        )
    return "\n\n".join(lines)


def figures(result: CheckResult, model: str, sets: FakeSets, condition: str = WRITTEN.name) -> dict[str, Any]:
    """What a row says of one model under one condition."""
    scores, joined = result.scores(model, condition), result.distances(model, condition)
    return {
        "model": model,
        "n_edits": scores.n_edits,
        "d_pix": scores.d_pix,
        "sr": scores.sr,
        "d_mask": scores.d_mask,
        "sr_mask": scores.sr_mask,
        "n_empty": scores.n_empty,
        "fid": round(sets.distance(model, condition), 4),
        "fid_n": sets.n(model, condition) or None,
        "d_original": float(joined.original.mean()),
        "d_original_null": float(joined.null.mean()),
    }


def _controls(protocol: Protocol, network: Inception | None) -> list[Row]:
    noise = noise_before(protocol.setup.strength, WRITTEN)
    names = {NULL: WRITTEN.name, NOISE: noise.name}
    sets = FakeSets(network, count=protocol.setup.fid, conditions=list(names.values()))
    with protocol.written(protocol.unchanged()) as pairs:
        result = protocol.check(pairs, conditions=[noise], watchers=[sets])
    budget = Budget(protocol.setup.strength)
    unwritten = {NULL: _unwritten(Unchanged(budget), protocol), NOISE: _unwritten(Noise(budget), protocol)}
    return [
        {
            "method": name,
            **figures(result, model, sets, condition),
            **unwritten[name][model],
            "paper": None,
            **protocol.facts(models=[model]),
        }
        for name, condition in names.items()
        for model in result.models
    ]


def _unwritten(attack: Attack, protocol: Protocol) -> dict[str, dict[str, float]]:
    """For each model what rows say besides where CMUA's way of counting is asked for."""
    shares = success_unwritten(attack, protocol) if protocol.setup.cmua_compat else {}
    return {model.name: {key: shares[model.name] for key in CMUA if shares} for model in protocol.models}


def _draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    shown = [row for row in rows if row["method"] not in (NULL, NOISE)]
    noise = {row["model"]: row for row in rows if row["method"] == NOISE}

    def panel(title: str, key: str, limit: float | None = None) -> Panel:
        return Panel(title, [row[key] for row in shown], [noise[row["model"]][key] for row in shown], limit)

    panels = [panel("SR_mask", "sr_mask", 1), panel("d_pix", "d_pix")]
    if any(row["fid_n"] for row in shown):
        panels.append(panel(f"FID (n = {shown[0]['fid_n']})", "fid"))
    panels.append(Panel("x to y'", [row["d_original"] for row in shown], [row["d_original_null"] for row in shown]))
    labels, groups = [row["model"] for row in shown], [row["method"] for row in shown]
    bars(figure, panels, labels=labels, groups=groups, control="control: noise; right: x to y")
