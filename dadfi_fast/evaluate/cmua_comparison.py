"""Whether a generator is better than CMUA, made on the same data: more fakes broken after JPEG 75, and less visible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from dadfi_fast.evaluate.experiment import Row
from dadfi_fast.model_card import Card

#: The method that generators are measured against.
RIVAL: Final = "cmua"
#: What is compared: success after this, more being better, and how far the change is seen, less being better.
SUCCESS: Final = "sr_mask_jpeg:75"
SEEN: Final = "flip"
#: The key of the answer in a generator's row.
BETTER: Final = "better_than_cmua"
QUESTION: Final = "**Is the generator better than CMUA: more fakes broken after JPEG 75, and less visible (FLIP)?**"


def judged(rows: Sequence[Row]) -> list[Row]:
    """``rows`` with the answer in those of generators, model by model; None where CMUA took no part."""
    rivals = {row["model"]: row for row in rows if row["method"] == RIVAL}
    return [{**row, BETTER: _answer(row, rivals.get(row["model"])) if row["generator"] else None} for row in rows]


def _answer(row: Row, rival: Row | None) -> str | None:
    return None if rival is None else "yes" if _better(row, rival) else "no"


def _better(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one[SUCCESS] > other[SUCCESS] and one[SEEN] < other[SEEN])


def words(rows: Sequence[Row], cards: Mapping[str, Card]) -> str:
    """The answer for every generator, Markdown.

    Args:
        rows: what `judged` gives.
        cards: of the generators, by their methods' names.
    """
    rivals = [row for row in rows if row["method"] == RIVAL]
    if not rivals:
        return f"{QUESTION} Not answered: cmua took no part; name pictures that it can be made on with --train."
    return "\n".join([QUESTION, "", *_lines(rows, rivals, cards)])


def _lines(rows: Sequence[Row], rivals: Sequence[Row], cards: Mapping[str, Card]) -> Iterator[str]:
    rival = _means(rivals)
    for method in dict.fromkeys(row["method"] for row in rows if row["generator"]):
        of_method = [row for row in rows if row["method"] == method]
        own, models = _means(of_method), [row["model"] for row in of_method if row[BETTER] == "yes"]
        shown = (("broken after JPEG 75", SUCCESS, ".3f"), ("FLIP", SEEN, ".4f"), ("PSNR", "psnr", ".1f"))
        figures = [f"{name} {own[key]:{form}} (cmua {rival[key]:{form}})" for name, key, form in shown]
        yield (
            f"- **{method}: {'yes' if _better(own, rival) else 'no'}**, by the means over {len(of_method)} models: "
            f"{', '.join(figures)}. Model by model on {len(models)} of {len(of_method)}"
            f"{': ' + ', '.join(models) if models else ''}. {_data(rivals[0], cards.get(method))}"
        )


def _means(rows: Sequence[Row]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in (SUCCESS, SEEN, "psnr")}


def _data(rival: Row, card: Card | None) -> str:
    """Whether both were made on the same pictures and against the same models, as far as it is known."""
    if rival["watermark"]:
        return "What the watermark was made on is not known: it was given as a file."
    theirs = {entry["sha256"] for entry in rival["train"]}
    own = {entry["sha256"] for entry in card.extra.get("data", ())} if card else set()
    count = f"cmua was made on at most {rival['train_sample']} pictures"
    if not own:
        data = f"The generator's card does not say what it was trained on; {count}."
    elif None in theirs or not theirs <= own:
        data = f"Not the same data: the generator was not trained on what cmua was made on; {count}."
    else:
        which = "these" if theirs == own else "these and other"
        data = f"Same data: the generator was trained on {which} archives; {count}."
    targets = {target["name"]: target["sha256"] for target in card.extra.get("targets", ())} if card else {}
    missing = [name for name, sha256 in rival["attacked"].items() if sha256 not in targets.values()]
    return data + (
        f" The generator has never seen {', '.join(missing)}; cmua has seen all." if targets and missing else ""
    )
