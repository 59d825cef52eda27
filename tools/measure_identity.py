"""How well an added face embedder tells people apart, with the crops that `check` gives it: cosines of all pairs.

For ARCHIVE, a tar or a folder of photos of one face each, two or more of a person, whose names end in a number for the
person and one for the photo (``neutral_front-003_03.jpg``: person 003). Example::

    python tools/measure_identity.py mobilefacenet london-portraits.tar
"""

from __future__ import annotations

import argparse
import itertools
import re
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from dadfi_fast.check.preprocess import cut_out, find_faces, read
from dadfi_fast.deepfakes.registry import load_encoders
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.types import Float32, Float64

#: The number of the person in a file's name.
PERSON = re.compile(r"(\d+)_\d+$")
#: Cosines up to which a pair counts as two people.
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)


def codes(folder: Path, encoder: str) -> tuple[list[str], Float32]:
    """The people [N] and the embeddings [N, D] of the photos in ``folder`` in which there is exactly one face."""
    (model,) = load_encoders((encoder,))
    if not model.kind.unit:
        raise UsageError(f"{encoder} reads {model.kind.reads}, which tell no people apart")
    find, _ = choose_detector()
    people, crops = [], []
    for path in sorted(path for path in folder.rglob("*") if PERSON.search(path.stem)):
        pixels = read(path)
        squares, has_face = find_faces(pixels, find)
        if not has_face or len(squares) != 1:
            print(f"{path.name}: {len(squares) if has_face else 0} faces, left out")
            continue
        (crop,) = cut_out(pixels, pixels, squares, sizes=[model.image_size])
        people.append(str(PERSON.search(path.stem)[1]))  # type: ignore[index]  # it was found above
        crops.append(crop.original[model.image_size])
    return people, model.encode(np.stack(crops))


def pairs(people: list[str], embeddings: Float32) -> tuple[Float64, Float64]:
    """The cosines of all pairs of photos of one person, and of two."""
    cosine = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    both = list(itertools.combinations(range(len(people)), 2))
    same = [people[i] == people[j] for i, j in both]
    values = np.array([cosine[i, j] for i, j in both])
    return values[same], values[~np.array(same)]


def describe(name: str, values: Float64) -> str:
    """Mean and extremes."""
    return f"{name}: n {len(values)}, mean {values.mean():.3f}, min {values.min():.3f}, max {values.max():.3f}"


def main() -> None:
    """Print the cosines, and what share of pairs each threshold gets wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="name of an added encoder that reads identity")
    parser.add_argument("archive", type=Path, help="tar or folder of photos")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.archive.is_file():
            with tarfile.open(chosen.archive) as archive:
                archive.extractall(folder, filter="data")
        people, embeddings = codes(chosen.archive if chosen.archive.is_dir() else Path(folder), chosen.encoder)
    same, others = pairs(people, embeddings)
    print(f"{len(people)} photos of {len(set(people))} people")
    print(describe("same person", same))
    print(describe("two people", others))
    for threshold in THRESHOLDS:
        missed, mixed = int((same <= threshold).sum()), int((others > threshold).sum())
        print(
            f"cosine {threshold}: {missed} of {len(same)} pairs of one person at or below,"
            f" {mixed} of {len(others)} pairs of two people above"
        )


if __name__ == "__main__":
    main()
