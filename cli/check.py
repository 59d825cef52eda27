"""``dadfi-fast check``: what deepfake models make of protected files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.cli.report import VISIBILITY, Reporter
from dadfi_fast.cli.report import option as report_option
from dadfi_fast.errors import CheckFailed, DadfiError, UsageError

if TYPE_CHECKING:
    from dadfi_fast.check.conditions import Condition
    from dadfi_fast.check.result import CheckResult

_PATH = click.Path(path_type=Path)


@click.command("check")
@click.argument("protected", type=_PATH)
@click.option("--original", type=_PATH, required=True, help="Folder or file of the originals, as given to protect.")
@click.option(
    "--sample", metavar="N|all", default="200", show_default=True, help="Number of files to check, drawn at random."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random draw.")
@click.option(
    "--models",
    multiple=True,
    callback=options.listed,
    metavar="NAME,...",
    help="Use only these deepfake models and encoders.",
)
@options.detector
@click.option(
    "--also",
    multiple=True,
    callback=options.listed,
    metavar="KIND:VALUE,...",
    help="Also check the files after a change, with separate figures for each: jpeg:QUALITY, resize:FACTOR, "
    "blur:PIXELS; or with other crops: margin:FACTOR (adversary A2, for example margin:0.9,1.1). noise:STRENGTH is the "
    "control: noise on the original instead of the protection.",
)
@click.option(
    "--fid",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default="not measured",
    help="Also measure the Frechet distance (FID) between two sets of at most N fakes each. "
    "Slow; needs the extra evaluate and a package with the Inception network.",
)
@click.option(
    "--visibility",
    type=click.IntRange(min=0),
    metavar="N",
    default=VISIBILITY,
    show_default=True,
    help="Number of photos on which to measure how visible the change is (a few seconds per face); 0: none. Needs the "
    "extra evaluate.",
)
@click.option(
    "--check-min",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Exit with code 4 if a smaller share of the files is protected against every model (SR_all, 0 to 1).",
)
@report_option
@click.option("--verbose", "-v", is_flag=True, help="Also list the files, least protected first.")
@options.json_output
@options.quiet
def command(
    protected: Path,
    original: Path,
    sample: str,
    seed: int,
    models: tuple[str, ...],
    detector: str,
    detector_model: Path | None,
    also: tuple[str, ...],
    fid: int,
    visibility: int,
    check_min: float | None,
    report: Path | None,
    verbose: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run protected files through the deepfake models and report how many fakes are broken.

    Plays the adversary: reads the files in PROTECTED, finds and crops the faces, and compares the fake of each with the
    fake of its original. A fake is broken if the two differ visibly (d_mask above 0.05).

    The adversary A1 runs the face detector on the protected file. A2 also crops the faces wider or tighter than usual
    by a factor (--also margin:FACTOR); each factor takes as long as the check without it. The fake of the original is
    always made from the same crop.

    \b
    d_pix    mean squared difference of the two fakes, 0 to 4
    d_mask   the same, over the pixels that the edit changed in the original
    SR       share of edits with d_pix above 0.05; SR_mask: with d_mask above 0.05
    SR_all   share of files in which every fake by every model is broken
    FID      Frechet inception distance between the fakes of the originals and those of the protected files (--fid)

    Encoders that were added (models add) are judged too: latents by their relative shift, identity by the cosine. A
    code is broken at a shift of at least 1, or a cosine of at most 0.5. Two controls on the original crop follow: noise
    of the same rms and JPEG 75. An editor or face swap behind an encoder is not run.

    The visibility of the change is measured on a few photos, by SSIMULACRA2 and FLIP on the face crops at the photo's
    own size. The JPEG equivalent is the JPEG quality (4:2:0) that changes the original as visibly: the lower of the two
    metrics, the worst face of each photo, the median over photos. The shipped generators were trained with these
    two; ColorVideoVDP, which was not in the training, may rate the change as more visible.
    """
    drawn = _sample(sample)
    reporter = Reporter(report)
    result = _check(
        protected,
        original,
        sample=drawn,
        seed=seed,
        names=models,
        detector=(detector, detector_model),
        conditions=_conditions(also),
        fid=fid,
        visibility=visibility,
        check_min=check_min,
        reporter=reporter,
        quiet=quiet,
    )
    if as_json:
        console.json(_document(result, verbose=verbose))
    else:
        _show(result, verbose=verbose)
        for said in _refined(protected):
            console.result(said)
    reporter.write(result, say=_silent if quiet else console.message)
    _judge(result, check_min)


def _check(
    protected: Path,
    original: Path,
    *,
    sample: int | None,
    seed: int,
    names: tuple[str, ...],
    detector: tuple[str, Path | None],
    conditions: list[Condition],
    fid: int,
    visibility: int,
    check_min: float | None,
    reporter: Reporter,
    quiet: bool,
) -> CheckResult:
    from dadfi_fast.check.pairs import find_pairs
    from dadfi_fast.check.result import check_files
    from dadfi_fast.cli.progress import show_progress
    from dadfi_fast.deepfakes import registry
    from dadfi_fast.faces.detector import choose_detector

    (models, encoders), classifier = registry.load_judges(names), registry.load_attributes()
    if check_min is not None and not models:
        raise UsageError("--check-min counts deepfake models, and --models names none. Remove one of the two options.")
    pairs = find_pairs(protected, original)
    find, reason = choose_detector(detector[0], model=detector[1])
    total = len(pairs) if sample is None else min(sample, len(pairs))
    faces_by = f"{find.name} ({reason})"
    watchers = reporter.begin(
        total, models=models, encoders=encoders, classifier=classifier, detector=faces_by, folder=protected
    )
    if not quiet:
        console.message(f"checking {total} of {len(pairs)} files; detector: {faces_by}")
    with show_progress(total, "files", quiet=quiet) as progress:
        return check_files(
            pairs,
            models=models,
            encoders=encoders,
            classifier=classifier,
            detector=find,
            sample=sample,
            seed=seed,
            conditions=conditions,
            watchers=watchers,
            fid=fid,
            visibility=visibility,
            tick=progress.advance,
        )


def _refined(protected: Path) -> tuple[str, ...]:
    """What the manifest beside the protected files says of ``--refine``: against which models the figures are."""
    from dadfi_fast.check.manifest_summary import read_manifest_summary

    return read_manifest_summary(protected if protected.is_dir() else protected.parent).refined


def _silent(_text: str) -> None:
    """Say nothing."""


def _sample(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise click.BadParameter(f"{text!r} is neither an integer of at least 1 nor 'all'", param_hint="--sample")
    return int(text)


def _conditions(also: tuple[str, ...]) -> list[Condition]:
    from dadfi_fast.check.conditions import parse_all

    return parse_all(also)


def _document(result: CheckResult, *, verbose: bool) -> dict[str, Any]:
    samples = {"samples": list(result.files())} if verbose else {}
    return {**result.to_dict(), **samples}


def _show(result: CheckResult, *, verbose: bool) -> None:
    if verbose:
        columns = ("target", "faces", "protected", "d_mask_min", "linf", "psnr", "jpeg_equivalent", "ssim")
        console.table(columns, [[row[name] for name in columns] for row in result.files()])
        console.result("")
    show_figures(result)
    for said in (result.appearance.sentence(), result.fid_sentence()):
        if said:
            console.result(said)
    figures = result.to_dict()
    parts = [f"{figures['n']} files, {figures['n_faces']} faces, {figures['n_no_face']} files without a face"]
    quality = (("PSNR (dB)", "psnr"), ("JPEG equivalent", "jpeg_equivalent"), ("SSIM", "ssim"))
    parts += [f"{name} {figures[key]:.4g}" for name, key in quality if figures[key]]
    console.result(f"{', '.join(parts)}, largest difference {figures['linf_max']} of 255 levels")


def show_figures(result: CheckResult) -> None:
    """The tables of deepfake models and of encoders, and what they say."""
    if result.models:
        console.table(result.COLUMNS, result.rows())
        console.result(result.sentence())
    if result.encoders:
        console.table(result.ENCODER_COLUMNS, result.encoder_rows())
        for said in result.encoder_sentences():
            console.result(said)


def _judge(result: CheckResult, check_min: float | None) -> None:
    """End with the exit code that the verdict calls for."""
    for pair, why in result.failures:
        console.error(f"{pair.name}: {why}")
    if check_min is not None and result.models and result.sr_all() < check_min:
        raise CheckFailed(
            f"only {result.sr_all():.1%} of the files are protected against every model,"
            f" below --check-min {check_min:.1%}"
        )
    if result.failures:
        raise DadfiError(f"{len(result.failures)} files could not be compared.")
