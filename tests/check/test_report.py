"""The page: what it says and holds, that nothing in it can do harm, and how it behaves in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
import runpy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import setuptools

from dadfi_fast import __version__
from dadfi_fast.check.appearance import Appearance
from dadfi_fast.check.conditions import parse
from dadfi_fast.check.gallery import Gallery, plan
from dadfi_fast.check.manifest_summary import ManifestSummary, Unprotected
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.report import chart
from dadfi_fast.check.report import page as page_module
from dadfi_fast.check.report.facts import Setting
from dadfi_fast.check.report.file import prepare, write
from dadfi_fast.check.report.markup import Markup, escape, join, tag
from dadfi_fast.check.report.page import page
from dadfi_fast.check.visibility import Visibility
from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.metrics.visibility import FaceAppearance
from dadfi_fast.types import Face

#: What a file system allows and a page must survive.
EVIL = "<img src=x onerror=alert(1)>.jpg"
NAMES = (EVIL, "\"'&amp;.png", "holiday/\u202egpj.exe", "plain.jpg", "bare.jpg", "crowd.jpg")
VOID = {"img", "input", "br", "meta", "link"}


@dataclass(eq=False, repr=False)
class Element:
    """An element of the page, with all text below it."""

    name: str
    attributes: dict[str, str | None]
    parents: tuple[Element, ...]
    text: str = ""

    def __getitem__(self, key: str) -> str:
        return self.attributes.get(key) or ""

    @property
    def classes(self) -> list[str]:
        return self["class"].split()


@dataclass(eq=False, repr=False)
class Page(HTMLParser):
    """The page, taken apart; raises where an element is not closed in its turn."""

    elements: list[Element] = field(default_factory=list)
    stack: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), (name, attributes)
        element = Element(name, dict(attributes), tuple(self.stack))
        self.elements.append(element)
        if name not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(name, attributes)
        if name not in VOID:
            self.stack.pop()

    def handle_endtag(self, name: str) -> None:
        assert self.stack.pop().name == name

    def handle_data(self, data: str) -> None:
        for element in self.stack:
            element.text += data

    def all(self, name: str = "", css: str = "", **attributes: str) -> list[Element]:
        return [
            e
            for e in self.elements
            if name in ("", e.name) and (not css or css in e.classes) and all(e[k] == v for k, v in attributes.items())
        ]

    def below(self, element: Element, name: str = "", css: str = "") -> list[Element]:
        return [e for e in self.all(name, css) if any(parent is element for parent in e.parents)]


def parsed(text: str) -> Page:
    result = Page()
    result.feed(text)
    result.close()
    assert not result.stack
    return result


def find(pixels: np.ndarray) -> list[Face]:
    """No face in bright pictures, two in dark ones."""
    if pixels.mean() > 150:
        return []
    faces = [Face(5, 5, 26, 26, 0.9), Face(2, 2, 20, 20, 0.8)]
    return faces if pixels.mean() < 40 else faces[:1]


@pytest.fixture(scope="module")
def html(put: Callable[..., Pair], check: Callable[..., Any], toys: tuple[Any, Any]) -> str:
    """A page on six files with names of all kinds: one is not protected, one has two faces, one none, one is torn."""
    levels = dict(zip(NAMES, (60, 70, 160, 80, 90, 30), strict=True))
    pairs = [put(name, level=levels[name], safe=name != "bare.jpg") for name in NAMES]
    torn = put("torn <b>.jpg")
    torn.protected.write_bytes(b"<script>alert(2)</script>")
    models, classifier = toys
    gallery, traces = Gallery(plan(6, 10)), Visibility()
    conditions = [parse("jpeg:75"), parse("noise:0.05"), parse("margin:0.9")]
    verdict = check([*pairs, torn], find=find, watchers=[gallery, traces], conditions=conditions)
    faces = {pair: FaceAppearance(quality, 78.3, 0.034) for pair, quality in zip(pairs, (72, 60), strict=False)}
    verdict = replace(verdict, appearance=Appearance(faces, None))
    unprotected = (Unprotected("<script>alert(3)</script>.jpg", "copied unprotected", "no face found"),)
    makers = ("generator sha256 0123abc, options f00, openvino-cpu: the fastest",)
    scope = ManifestSummary(unprotected, makers, ((0.03, 1), (0.05, 4)))
    others = [type(models[0].card)(**{**vars(models[0].card), "name": "unused-model"})]
    return page(
        verdict, gallery, traces, Setting(models, classifier, "none (as told)", "dadfi-fast check", others, scope)
    )


@pytest.fixture(scope="module")
def document(html: str) -> Page:
    return parsed(html)


@pytest.fixture
def file(html: str, tmp_path: Path) -> Path:
    write(tmp_path / "page.html", html)
    return tmp_path / "page.html"


def cards(document: Page) -> list[Element]:
    return document.all("article", "card")


# What it says.


def test_every_photo_has_its_card_the_worst_first(document: Page) -> None:
    names = [document.below(card, "h3")[0].text for card in cards(document)]
    assert sorted(names) == sorted(name.replace("\u202e", "\ufffd") for name in NAMES)
    assert names[0] == "bare.jpg"
    weakest = [float(card["data-weakest"]) for card in cards(document)]
    assert weakest == sorted(weakest)


def test_every_sample_and_edit_has_its_pictures(document: Page) -> None:
    for card in cards(document):
        faces = document.below(card, "div", "face")
        assert len(faces) == (2 if "crowd.jpg" in card.text else 1)
        for face in faces:
            captions = [e.text for e in document.below(face, "figcaption")]
            assert captions[:3] == ["original", "protected", "difference \u00d720"]
            assert len(captions) == 3 + 2 * 5
            outcome = "not broken" if "bare.jpg" in card.text else "broken"
            assert any(caption.startswith(f"Blond Hair fragile {outcome} ") for caption in captions)
            assert any(caption.startswith("Blond Hair sturdy not broken ") for caption in captions)


def test_k_of_k_for_every_model_and_condition(document: Page) -> None:
    table, conditions, edits = (table.text for table in document.all("table"))
    assert "fragile 5 edits30 of 35 (85.7%)5 of 6" in table  # seven faces; bare.jpg is not protected
    assert "sturdy 5 edits0 of 35 (0.0%)0 of 6" in table
    assert "the file as writtenA130 of 35" in conditions
    assert "crops 0.9 times as wideA2" in conditions
    assert "JPEG of quality 75" in conditions
    assert "control: noise of 0.05 instead of protection" in conditions
    assert "Blond Hairfragile6 of 7" in edits


def test_the_head_says_for_each_model_how_many_are_broken(document: Page) -> None:
    lines = document.below(document.all("ul", "lead")[0], "li")
    assert [(line.text, line["class"]) for line in lines] == [
        ("fragile: every fake broken in 5 of 6 photos", ""),
        ("sturdy: every fake broken in 0 of 6 photos", "bad"),
    ]
    assert "In 0 of 6 photos every fake by all of these models is broken" in document.all("header")[0].text
    assert "fragile (5 edits), sturdy (5 edits)" in document.all("header")[0].text


def test_how_visible_the_change_is_stands_beside_psnr(document: Page) -> None:
    head = document.all("header")[0].text
    assert "The change looks like JPEG of quality 66, by the lower of SSIMULACRA2 and FLIP" in head
    assert "(median of 2 photos, the worst 60; SSIMULACRA2 78.3, FLIP 0.034)" in head
    assert "ColorVideoVDP does on some portraits" in head
    assert "PSNR of whole photos is 32.6 dB, the mean of 5." in head  # 6 levels everywhere; bare.jpg was not changed
    qualities = {document.below(card, "h3")[0].text: card["data-jpeg"] for card in cards(document)}
    assert (qualities[EVIL], qualities[NAMES[1]], qualities["plain.jpg"]) == ("72", "60", "999")
    shown = ["looks like JPEG of quality" in card.text for card in cards(document)]
    assert shown == [quality != "999" for quality in qualities.values()]


@pytest.mark.parametrize(
    ("appearance", "words"),
    [
        (Appearance(), "Visibility was not measured: not asked for; check --visibility N"),
        (
            Appearance(reason="x not installed; run: pip install x"),
            "Visibility was not measured: x not installed; run: pip",
        ),
    ],
)
def test_why_visibility_is_not_known(
    appearance: Appearance, words: str, put: Callable[..., Pair], check: Callable[..., Any], toys: tuple[Any, Any]
) -> None:
    models, classifier = toys
    gallery, traces = Gallery(plan(1, 5)), Visibility()
    verdict = replace(check([put("a", safe=False)], watchers=[gallery, traces]), appearance=appearance)
    head = parsed(page(verdict, gallery, traces, Setting(models, classifier, "none", ""))).all("header")[0].text
    assert words in head and "looks like" not in head
    assert "No photo was changed." in head


def test_the_threshold_is_drawn_for_every_model(document: Page) -> None:
    charts = document.all("svg", "chart")
    assert len(charts) == 2 + 1  # two models and the spectrum
    for each in charts[:2]:
        (line,) = document.below(each, "line", "threshold")
        tick = next(e for e in document.below(each, "text") if e.text == "0.05")
        assert float(line["x1"]) == pytest.approx(float(tick["x"]), abs=0.1)


def test_what_was_not_tested_is_said(document: Page) -> None:
    (section,) = document.all("section", **{"aria-labelledby": "untested"})
    for words in (
        "Diffusion editors",
        "face swaps",
        "other versions",
        "unused-model: stargan",
        "screenshots",
        "stgan-sac",
    ):
        assert words in section.text
    assert "torn <b>.jpg: " in section.text
    assert "cannot read " in section.text
    assert "<script>alert(3)</script>.jpg: copied unprotected, no face found" in section.text
    assert "Checked photos in which no face was found (1)holiday/" in section.text


def test_versions_and_hashes_are_named(document: Page, toys: tuple[Any, Any]) -> None:
    (section,) = document.all("section", **{"aria-labelledby": "made"})
    models, classifier = toys
    for text in (
        __version__,
        *(m.card.sha256 for m in (*models, classifier)),
        "generator sha256 0123abc",
        "0.03 in 1 file, 0.05 in 4 files",
        "numpy",
    ):
        assert text in section.text
    assert all(len(re.findall(r"[0-9a-f]{64}", card.text)) == 2 for card in cards(document))


# What it must not do.


def test_nothing_of_a_name_becomes_markup(document: Page) -> None:
    assert EVIL in [e.text for e in document.all("bdi")]
    assert {e.name for e in document.elements if e.name in ("script", "style")} == {"script", "style"}
    assert len(document.all("script")) == len(document.all("style")) == 1
    assert not [e for e in document.all("img") if not e["src"].startswith("data:image/")]
    assert "alert(" not in document.all("script")[0].text


def test_nothing_points_out_of_the_page(html: str, document: Page) -> None:
    addresses = [e[key] for e in document.elements for key in ("src", "href", "action", "srcset", "data") if e[key]]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|url\(|@import", html)


def test_no_code_stands_outside_of_the_script(document: Page) -> None:
    assert not [key for e in document.elements for key in e.attributes if key.startswith("on") or key == "style"]


def test_the_policy_allows_this_style_and_this_script_alone(document: Page) -> None:
    (meta,) = document.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.strip().split(" ", 1) for rule in meta["content"].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script", "style"):
        digest = hashlib.sha256(document.all(kind)[0].text.encode()).digest()
        assert rules[f"{kind}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"


# Whether everybody can use it.


def test_ids_are_unique_and_what_is_referred_to_is_there(document: Page) -> None:
    ids = [e["id"] for e in document.elements if e["id"]]
    assert len(set(ids)) == len(ids)
    keys = ("aria-labelledby", "for")
    referred = {word for e in document.elements for key in keys for word in e[key].split()}
    referred |= {e["href"][1:] for e in document.all("a")}
    assert referred <= set(ids)


def test_pictures_have_words(document: Page) -> None:
    assert all(e["alt"] for e in document.all("img"))
    assert all(e["aria-hidden"] or (e["role"] == "img" and e["aria-labelledby"]) for e in document.all("svg"))


def test_controls_have_labels(document: Page) -> None:
    labelled = {e["for"] for e in document.all("label")}
    assert all(e["id"] in labelled for name in ("input", "select") for e in document.all(name))
    assert all(e.text.strip() or document.below(e, "img")[0]["alt"] for e in document.all("button"))
    assert document.elements[0]["lang"] == "en"


# Its parts.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>", "&lt;b&gt;"),
        ("\"'&", "&quot;&#x27;&amp;"),
        ("a\nb\tc", "a b c"),
        ("\x00\x1b[0m", "\ufffd\ufffd[0m"),
        ("\u202egpj", "\ufffdgpj"),
        ("\udce9.jpg", "\ufffd.jpg"),  # bytes that are no UTF-8
        ("Zoë 写真", "Zoë 写真"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert escape(text) == expected
    assert tag("p", text) == f"<p>{expected}</p>"
    assert tag("p", title=text) == f'<p title="{expected}"></p>'
    escape(text).encode()


def test_markup_is_not_escaped_twice() -> None:
    inner = tag("b", "<", class_="x", data_m=0, hidden=True, open=False, title=None)
    assert inner == '<b class="x" data-m="0" hidden>&lt;</b>'
    assert tag("p", [inner, 1, None, "&"]) == f"<p>{inner}1&amp;</p>"
    assert isinstance(join(["a"]), Markup)


def test_a_histogram_counts_every_fake() -> None:
    drawn = parsed(chart.histogram([0.0, 0.049, 0.051, 0.051, 9.0], name="x", about="all of them"))
    bars = {css: drawn.all("rect", css) for css in ("bad", "good")}
    assert [len(bars["bad"]), len(bars["good"])] == [2, 2]
    line = float(drawn.all("line", "threshold")[0]["x1"])
    assert all(float(e["x"]) < line - 1 for e in bars["bad"])
    assert all(float(e["x"]) > line - 1 for e in bars["good"])
    assert max(float(e["height"]) for e in bars["good"]) == 2 * max(float(e["height"]) for e in bars["bad"])


def test_a_page_can_be_made_of_pictures_without_a_single_edit(
    put: Callable[..., Pair], check: Callable[..., Any], toys: tuple[Any, Any]
) -> None:
    """Mid-grey pictures, of which the fragile model's edit that clears everything leaves the picture alone."""
    models, classifier = toys
    gallery, traces = Gallery(plan(1, 5)), Visibility()
    verdict = check([put("grey", level=127)], models=models[:1], watchers=[gallery, traces])
    report = parsed(page(verdict, gallery, traces, Setting(models[:1], classifier, "none", "")))
    assert "there is no manifest" in report.all("dl")[-1].text
    assert "1 edits changed nothing" in cards(report)[0].text
    assert ["--also margin:0.9,1.1" in p.text for p in report.all("p") if "not tested. " in p.text] == [False, True]
    assert [e.text for e in report.all("span", "none")] == ["the edit changed nothing"]


def test_a_long_list_ends(
    put: Callable[..., Pair], check: Callable[..., Any], toys: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "LISTED", 6)
    models, classifier = toys
    one, other = put("bare", safe=False), put("safe")
    pairs = [one, *(Pair(f"{i}", other.original, other.protected) for i in range(9))]
    gallery, traces = Gallery(plan(len(pairs), 5), budget=60_000), Visibility()
    verdict = check(pairs, models=models[:1], watchers=[gallery, traces])
    text = page(verdict, gallery, traces, Setting(models[:1], classifier, "none", ""))
    assert text.count("<article") == 6
    assert "4 photos, stronger than these, are in the figures and not listed." in text
    assert "Its images were left out to keep the page small." in text
    assert len(text) < 60_000 + 60_000


@pytest.mark.parametrize("name", ["photo.jpg", "page", "page.html.png"])
def test_a_photo_is_not_overwritten_by_a_slip(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not end with"):
        prepare(tmp_path / name)


def test_where_a_page_cannot_go(tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        prepare(tmp_path / "folder.html")
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="Choose another --report"):
        prepare(tmp_path / "file" / "page.html")
    with pytest.raises(DiskError, match="Choose another --report"):
        write(tmp_path / "gone" / "page.html", "")


def test_a_page_replaces_an_earlier_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    prepare(path)
    assert write(path, "one") == 3
    assert write(path, "zwölf") == 6
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert list(path.parent.iterdir()) == [path]


def test_what_the_page_is_made_from_is_installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **more: settings.update(more))
    monkeypatch.chdir(root)
    runpy.run_path(str(root / "setup.py"))
    patterns = settings["package_data"]["dadfi_fast.check.report"]
    sources = [p for p in (root / "dadfi_fast" / "check" / "report").iterdir() if p.suffix in (".html", ".css", ".js")]
    assert len(sources) == 4
    assert all(any(path.match(pattern) for pattern in patterns) for path in sources)
    assert "dadfi_fast.check.report" in settings["packages"]


# In a browser.

PRESSED = "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('input'))"


def shown(browser: Any) -> list[str]:
    """Names of the photos that are to be seen, in order."""
    script = "return [...document.querySelectorAll('.card:not([hidden])')].map(c => c.dataset.name)"
    names: list[str] = browser.run(script)
    return names


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 360])
def test_it_renders_quietly_and_asks_for_nothing(browser: Any, file: Path, width: int) -> None:
    browser.open(file, width=width)
    assert browser.run("return document.title") == "dadfi-fast: check report"
    wait = "const done = arguments[0]; Promise.all([...document.images].map(i => i.decode())).then(() => done(1), done)"
    assert browser.run_async(wait) == 1  # every picture decodes
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in browser.requests() if not url.startswith("data:")] == [file.as_uri()]
    assert browser.log("browser") == []


@pytest.mark.browser
def test_a_photo_with_an_evil_name_is_harmless(browser: Any, file: Path) -> None:
    browser.open(file)
    assert EVIL in shown(browser)
    assert browser.run("return document.querySelectorAll('img[src=x], img[onerror]').length") == 0
    browser.run("document.querySelector('[data-name^=\"<img\"] .fake button').click()")
    assert EVIL in browser.run("return document.getElementById('compare-title').textContent")
    assert browser.log("browser") == []  # an alert would have stopped the commands, too


@pytest.mark.browser
def test_the_slider_moves_with_keys_and_pointer(browser: Any, file: Path) -> None:
    edge = "return getComputedStyle(document.querySelector('#fake-stage img + img')).clipPath"
    browser.open(file)
    browser.click(".fake button")
    assert browser.run(edge) == "inset(0px 0px 0px 50%)"
    browser.press("#cut", "\ue012" * 20)  # arrow to the left
    assert browser.run(edge) == "inset(0px 0px 0px 30%)"
    value = browser.run("return document.getElementById('cut').getAttribute('aria-valuetext')")
    assert value == "30 % original, 70 % protected"
    browser.click("#photo-stage")  # in its middle
    assert browser.run(edge) == "inset(0px 0px 0px 50%)"
    assert browser.log("browser") == []


@pytest.mark.browser
def test_the_comparison_steps_closes_and_gives_the_focus_back(browser: Any, file: Path) -> None:
    title = "return document.getElementById('compare-title').textContent"
    browser.open(file)
    browser.press(".fake button", "\ue007")  # enter
    before = browser.run(title)
    browser.click("#after")
    assert browser.run(title) != before
    browser.click("#before")
    assert browser.run(title) == before
    browser.press("#cut", "\ue00c")  # escape
    assert not browser.run("return document.getElementById('compare').open")
    assert browser.run("return document.activeElement === document.querySelector('.fake button')")


@pytest.mark.browser
def test_sort_and_filter(browser: Any, file: Path) -> None:
    browser.open(file)
    assert shown(browser)[0] == "bare.jpg"
    browser.run(PRESSED, "sort", "-weakest")
    assert shown(browser)[-1] == "bare.jpg"
    browser.run(PRESSED, "sort", "name")
    assert shown(browser).index("bare.jpg") < shown(browser).index("crowd.jpg") < shown(browser).index("plain.jpg")
    browser.press("#search", "PLAIN")
    assert shown(browser) == ["plain.jpg"]
    assert browser.run("return document.getElementById('count').textContent") == "1 of 6 photos"
    browser.run(PRESSED, "search", "")
    browser.run(PRESSED, "state", "no-face")
    assert [name.split("/")[0] for name in shown(browser)] == ["holiday"]
    browser.run(PRESSED, "state", "")
    browser.run(PRESSED, "model", "0")  # fragile
    browser.click("#intact")
    assert shown(browser) == ["bare.jpg"]


@pytest.mark.browser
def test_everything_that_can_be_used_has_a_name(browser: Any, file: Path) -> None:
    browser.open(file)
    roles = named(browser)
    assert {"button", "searchbox", "combobox", "checkbox", "image", "heading", "region", "article"} <= set(roles)
    assert "Black Hair by sturdy: fake of the original, fake of the protected" in roles["button"]
    assert set(NAMES) - roles["article"] == {name for name in NAMES if "\u202e" in name}
    browser.click(".fake button")
    assert {"dialog", "slider", "button"} <= set(named(browser))


def named(browser: Any) -> dict[str, set[str]]:
    """Role -> names in the accessibility tree, of what people use or look at; fails where one has none."""
    kinds = ("button", "searchbox", "textbox", "combobox", "checkbox", "slider", "image", "link", "heading", "form")
    kinds += ("region", "article", "dialog", "DisclosureTriangle")
    browser.devtools("Accessibility.enable")
    roles: dict[str, set[str]] = {}
    for node in browser.devtools("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if role in kinds and not node.get("ignored"):
            name = node.get("name", {}).get("value", "")
            assert name.strip(), node
            roles.setdefault(role, set()).add(name)
    return roles


@pytest.mark.browser
def test_it_is_dark_where_that_is_wanted(browser: Any, file: Path) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    colours = []
    for scheme in ("light", "dark"):
        browser.open(file, scheme=scheme)
        colours.append(browser.run(colour))
    assert colours == ["rgb(255, 255, 255)", "rgb(22, 22, 22)"]
