"""What stands between the files and the stages: nothing, or what takes many photos at once.

`dadfi_fast.protect.gpu.dali_stage` decodes them; `dadfi_fast.protect.gpu.pipeline` brings them through all stages on a
GPU. What neither takes goes on to the stages as it came, and comes out in its place.
"""

from __future__ import annotations

from collections.abc import Iterable

from dadfi_fast.attacks.base import Attack
from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.on_device import OnDevice
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import AUTO, ProtectConfig
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.stages import Stages


def apply_gpu_stages(jobs: Iterable[PhotoJob], stages: Stages, attack: Attack, meter: Meter) -> Iterable[PhotoJob]:
    """``jobs`` (files that are read, and outcomes), in order, as far as they can be brought many at a time.

    Raises:
        BackendMissing: the decoder that the config names cannot run here.
    """
    config = stages.config
    if config.decoder == "cpu":
        return jobs
    from dadfi_fast.protect.gpu.dali import Dali
    from dadfi_fast.protect.gpu.dali_stage import DaliStage

    dali = Dali(device=config.device, threads=config.threads)
    if not (
        isinstance(attack, GeneratorAttack)
        and stays_on_card(type(attack.backend), config.device)
        and config.strength != AUTO  # its models run on the CPU
    ):
        return DaliStage(dali, meter)(jobs)
    from dadfi_fast.protect.gpu.nvimgcodec import NvImageCodec
    from dadfi_fast.protect.gpu.pipeline import GpuPipeline

    codec = NvImageCodec(device=config.device, threads=config.threads)
    return GpuPipeline(stages, attack, dali, codec, meter)(jobs)


def stays_on_card(backend: type[Backend], device: str) -> bool:
    """Whether photos need not leave the GPU that decodes them: the generator takes crops that lie there."""
    return device != "cpu" and issubclass(backend, OnDevice)


def describe(config: ProtectConfig, backend: type[Backend], detector: Detector) -> str:
    """For people: who decodes, where photos go from there, and where faces are looked for."""
    said = f"JPEGs decoded by {config.decoder} on {config.device}"
    if not stays_on_card(backend, config.device):
        return said if config.device == "cpu" else f"{said}, and fetched, as backend {backend.name} takes no others"
    if config.strength == AUTO:
        return f"{said}, and fetched, as --strength auto chooses on the CPU"
    from dadfi_fast.protect.gpu.pipeline import searched_on

    where, why = searched_on(detector, config.device)
    return f"{said}, where they stay; faces found on {where}" + (f", as {why}" if why else "")
