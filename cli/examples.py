"""What ``--help`` ends with: examples of each command, which a test parses, so that none of them goes stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

#: Command -> what an example does, and the example.
EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "protect": (
        ("a folder and everything in it; run it again to resume",
         "dadfi-fast protect photos --out protected"),
        ("some files, less visibly and without their location",
         "dadfi-fast protect a.jpg b.png --out protected --strength 0.03 --strip-gps"),
        ("as little as each face needs, which takes longer",
         "dadfi-fast protect photos --out protected --strength auto"),
        ("show what would be done", "dadfi-fast protect photos --out protected --dry-run"),
        ("for a script: one JSON document on stdout", "dadfi-fast protect photos --out protected --json --quiet"),
    ),
    "check": (
        ("every file", "dadfi-fast check protected --original photos --sample all"),
        ("also after the processing of a typical website, with noise of the same strength as a control",
         "dadfi-fast check protected --original photos --also jpeg:75,resize:0.5,noise:0.05"),
        ("also with faces that are cropped tighter and wider than usual (adversary A2)",
         "dadfi-fast check protected --original photos --also margin:0.9,1.1"),
        ("fail if less than 95 % is protected", "dadfi-fast check protected --original photos --check-min 0.95"),
    ),
    "bench throughput": (
        ("the example photos", "dadfi-fast bench throughput"),
        ("your own photos, with the rows appended to a file",
         "dadfi-fast bench throughput --photos photos --json rows.jsonl"),
    ),
    "bench kernels": (
        ("on this machine", "dadfi-fast bench kernels"),
        ("on a GPU, with the rows appended to a file", "dadfi-fast bench kernels --device cuda --json rows.jsonl"),
    ),
    "bench scale": (
        ("50,000 small photos, with a plot of the memory",
         "dadfi-fast bench scale --json rows.jsonl --plot memory.png"),
    ),
    "bench growth": (
        ("with the size of a photo", "dadfi-fast bench growth --over megapixels --json rows.jsonl"),
    ),
    "export": (
        ("for other programs, checked against float32 PyTorch", "dadfi-fast export --to onnx --out models --check"),
        ("an engine for the GPU in this machine", "dadfi-fast export --to tensorrt"),
    ),
    "models list": (("with the accuracy of every edit", "dadfi-fast models list --json"),),
    "models verify": (("verify all models", "dadfi-fast models verify"),),
    "doctor": (
        ("check everything", "dadfi-fast doctor"),
        ("measure with your own photo and disk", "dadfi-fast doctor --photo portrait.jpg --scratch /data"),
        ("in half a second, for a script", "dadfi-fast doctor --no-measure --json"),
    ),
    "config show": (
        ("the defaults of protect", "dadfi-fast config show"),
        ("the effect of a file and the command line",
         "dadfi-fast config show --config settings.toml --strength 0.03"),
    ),
    "completion": (
        ("bash", "dadfi-fast completion bash > ~/.local/share/bash-completion/completions/dadfi-fast"),
        ("zsh", 'dadfi-fast completion zsh > "${fpath[1]}/_dadfi-fast"'),
        ("fish", "dadfi-fast completion fish > ~/.config/fish/completions/dadfi-fast.fish"),
    ),
}  # fmt: skip


def attach(command: click.Command, name: str) -> None:
    """Put the examples behind the help of ``command``, which one calls by ``name``, and of those below it."""
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            attach(each, f"{name} {below}")
    elif name in EXAMPLES:
        lines = [line for what, example in EXAMPLES[name] for line in (f"  # {what}", f"  {example}")]
        command.epilog = "\n".join(["\b", "Examples:", *lines])
