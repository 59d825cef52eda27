"""Runs a network that may be hostile, in a process of its own: ``python -m ... FOLDER``.

The folder has ``network.onnx``, ``images.npy`` [N, 3, S, S], ``edits.npy`` [N, E] and ``batches.json``, a list of batch
sizes. For each of them a file ``N.npy`` comes back with the outputs of all pictures, or ``error.txt`` for all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from dadfi_fast.deepfakes.session import Session, load
from dadfi_fast.types import Float32


def main(folder: Path) -> None:
    """Run what is in ``folder``; what goes wrong is written down."""
    try:
        session = load(folder / "network.onnx", threads=2)
        images, edits = np.load(folder / "images.npy"), np.load(folder / "edits.npy")
        for number, batch in enumerate(json.loads((folder / "batches.json").read_text())):
            np.save(folder / f"{number}.npy", _run(session, images, edits, batch))
    except Exception as error:  # the runtimes share no error class
        text = " ".join(str(error).split()) or type(error).__name__
        (folder / "error.txt").write_text(text, encoding="utf-8")


def _run(session: Session, images: Float32, edits: Float32, batch: int) -> Float32:
    outputs = []
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        outputs.append(session({"image": images[part], "edit": edits[part]}))
        if outputs[-1].shape[1:] != outputs[0].shape[1:]:
            shapes = f"{list(outputs[0].shape[1:])} and {list(outputs[-1].shape[1:])}"
            raise ValueError(f"the size of its output depends on the picture ({shapes})")
    return np.concatenate(outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
