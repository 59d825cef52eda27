from __future__ import annotations

import hashlib
from pathlib import Path

import platformdirs
import pytest

from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.files import sha256
from dadfi_fast.model_card import MODELS_VARIABLE, WEIGHTS, cards, find_card, folders, read_card, user_folder

CONTENT = b"weights"
FACTS = {
    "name": '"tiny"',
    "family": '"generator"',
    "file": '"tiny.onnx"',
    "sha256": f'"{hashlib.sha256(CONTENT).hexdigest()}"',
    "image_size": "0",
    "parameters": "7",
    "licence": '"Apache-2.0"',
    "lim": "0.05",
}


def write(folder: Path, stem: str = "tiny", **changes: str | None) -> Path:
    """A card and its weights; a change of None leaves the fact out."""
    facts = {**FACTS, "name": f'"{stem}"', "file": f'"{stem}.onnx"', **changes}
    front = "\n".join(f"{key} = {value}" for key, value in facts.items() if value is not None)
    (folder / f"{stem}.onnx").write_bytes(CONTENT)
    card = folder / f"{stem}.md"
    card.write_text(f"+++\n{front}\n+++\n\n# {stem}\n\nText, with +++ in it.\n", encoding="utf-8")
    return card


def test_a_card_gives_its_facts(tmp_path: Path) -> None:
    card = read_card(write(tmp_path))
    assert (card.name, card.family, card.image_size, card.parameters) == ("tiny", "generator", 0, 7)
    assert card.file == tmp_path / "tiny.onnx"
    assert dict(card.extra) == {"lim": 0.05}
    card.verify()


@pytest.mark.parametrize("fact", [fact for fact in FACTS if fact != "lim"])
def test_a_card_without_a_fact_is_no_card(tmp_path: Path, fact: str) -> None:
    with pytest.raises(WeightsError, match=r"tiny\.md is not a model card"):
        read_card(write(tmp_path, **{fact: None}))


@pytest.mark.parametrize(
    "text",
    ["", "# only text", "+++\nname = 'x'", "+++\nname = \n+++\n", "+++\nname = 'x'\n+++\n"],
    ids=["empty", "no front matter", "not closed", "not TOML", "facts missing"],
)
def test_other_text_is_no_card(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="is not a model card"):
        read_card(path)


def test_weights_that_changed_are_noticed(tmp_path: Path) -> None:
    card = read_card(write(tmp_path))
    card.file.write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match="does not match its card"):
        card.verify()


def test_weights_that_are_gone_are_noticed(tmp_path: Path) -> None:
    card = read_card(write(tmp_path))
    card.file.unlink()
    with pytest.raises(WeightsError, match="is missing"):
        card.verify()


def test_a_card_is_found_by_name_and_family(tmp_path: Path) -> None:
    write(tmp_path, "b")
    write(tmp_path, "a", family='"stargan"')
    assert [card.name for card in cards(tmp_path)] == ["a", "b"]
    assert find_card("a", folder=tmp_path).family == "stargan"
    with pytest.raises(UsageError, match=r"unknown generator 'a'. Available: b"):
        find_card("a", family="generator", folder=tmp_path)
    with pytest.raises(UsageError, match="Available: none"):
        find_card("a", folder=tmp_path / "nowhere")


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # more than one block is read
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_the_source_of_a_model_and_what_mends_it(tmp_path: Path) -> None:
    bundled, added = read_card(write(tmp_path)), read_card(write(tmp_path, "mine", source='"added"'))
    assert (bundled.source, added.source) == ("bundled", "added")
    for card, mend in ((bundled, "Reinstall"), (added, "Add it again")):
        card.file.unlink()
        with pytest.raises(WeightsError, match=mend):
            card.verify()


def test_added_models_lie_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    assert folders() == [WEIGHTS]
    for name in ("b", "a", ".c.123"):
        (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "models" / "notes.txt").touch()
    assert folders() == [WEIGHTS, tmp_path / "models" / "a", tmp_path / "models" / "b"]


def test_added_models_lie_in_the_users_data_folder_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    monkeypatch.setattr(platformdirs, "user_data_path", lambda name, **_: tmp_path / name)
    assert user_folder() == tmp_path / "dadfi-fast" / "models"


def test_what_ships_is_what_its_cards_say() -> None:
    shipped = cards()
    assert {"generator", "stargan"} <= {card.family for card in shipped}
    for card in shipped:
        card.verify()
    assert len({card.name for card in shipped}) == len(shipped)
