"""The faces: decoded once into a file that all trainings map into memory."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import torch

from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.errors import DataError
from dadfi_fast.training.data import Faces, load_faces
from dadfi_fast.training.device import torch_device
from gpu_phases import Clock
from gpu_phases.plan import Plan
from gpu_phases.results import Notes

#: Pictures that are kept out of the trainings, at most a tenth of all.
HELD_OUT = 512


def run(plan: Plan, clock: Clock) -> None:
    """Decode what lies in ``plan.data``, unless that has been done before; first of all see whether there is a GPU."""
    torch_device(plan.device)
    tars, tables = sorted(plan.data.glob("*.tar")), sorted(plan.data.glob("*attributes*.csv"))
    if not tars or not tables:
        raise DataError(f"{plan.data} has no tar of faces with its *attributes*.csv; name their folder with --data")
    source = json.dumps([plan.image_size, *((path.name, path.stat().st_size) for path in (*tars, tables[0]))])
    mark = plan.work / "faces.json"
    if mark.exists() and json.loads(mark.read_text())["source"] == source:
        return
    start = clock.left()
    dataset = load_faces(tars, image_size=plan.image_size, attributes=tables[0], columns=ATTRIBUTES)
    assert dataset.labels is not None
    np.save(plan.work / "pixels.npy", dataset.pixels)
    np.save(plan.work / "labels.npy", dataset.labels.numpy())
    mark.write_text(json.dumps({"source": source, "names": dataset.names}))
    Notes(plan).figure("decode the archive", len(dataset) / (start - clock.left()), "images/s", n=len(dataset))


def faces(plan: Plan) -> tuple[Faces, Faces]:
    """Those to train on, and those that are held out."""
    names = tuple(json.loads((plan.work / "faces.json").read_text())["names"])
    pixels = np.load(plan.work / "pixels.npy", mmap_mode="c")
    labels = torch.from_numpy(np.load(plan.work / "labels.npy"))
    count = len(names) - min(HELD_OUT, len(names) // 10)
    whole = Faces(pixels, names, labels)
    return whole.first(count), replace(whole, pixels=pixels[count:], names=names[count:], labels=labels[count:])
