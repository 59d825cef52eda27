"""Which decoder runs, and why. One that the user names runs or is an error: there is no silent second choice."""

from __future__ import annotations

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.protect.config import DECODERS


def choose_decoder(name: str = "auto", *, device: str = "cpu") -> tuple[str, str]:
    """``cpu`` or ``dali``, and the reason, for people.

    Args:
        name: one of `DECODERS`. ``auto`` is ``dali`` where photos go to a GPU and DALI is installed: on a CPU it
            decodes with the same library as the CPU's decoders do.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: there is no such decoder.
        BackendMissing: the one that was named cannot run here.
    """
    from dadfi_fast.protect.gpu import dali

    if name not in DECODERS:
        raise UsageError(f"unknown --decoder {name}. Available: {', '.join(DECODERS)}")
    if name == "cpu":
        return name, "named by the user"
    if name == "dali":
        if (why := dali.missing(device)) is not None:
            raise BackendMissing(f"decoder dali cannot run: {why}; or pass --decoder cpu")
        return name, "named by the user"
    if device == "cpu":
        return "cpu", "DALI gains nothing on a CPU"
    why = dali.missing(device)
    return ("cpu", why) if why else ("dali", f"it decodes on {device}")
