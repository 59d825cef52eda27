"use strict";
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const cards = $$(".card");

// Sort and filter.

function fits(card) {
  const state = byId("state").value;
  const named = card.dataset.name.toLowerCase().includes(byId("search").value.trim().toLowerCase());
  return named && (!state || (state === "no-face" ? card.dataset.face === "no" : card.dataset.state === state));
}

function filter() {
  const model = byId("model").value;
  const intact = byId("intact").checked;
  let shown = 0;
  for (const card of cards) {
    const fakes = $$(".fake", card);
    for (const fake of fakes) {
      fake.hidden = (model && fake.dataset.m !== model) || (intact && fake.dataset.s !== "bad");
    }
    card.hidden = !fits(card) || (fakes.length > 0 && fakes.every((fake) => fake.hidden));
    shown += !card.hidden;
  }
  byId("count").textContent = `${shown} of ${cards.length} photos`;
}

function sort() {
  const key = byId("sort").value.replace("-", "");
  const sign = byId("sort").value.startsWith("-") ? -1 : 1;
  const compare = key === "name"
    ? (a, b) => a.dataset.name.localeCompare(b.dataset.name)
    : (a, b) => sign * (a.dataset[key] - b.dataset[key]);
  byId("cards").append(...cards.sort(compare));
}

// Lay one picture over the other.

let current = null;

function stage(id, lower, upper) {
  byId(id).replaceChildren(...[lower, upper].map((image) => {
    const copy = new Image();
    copy.src = image.src;
    copy.alt = "";
    return copy;
  }));
}

function cut() {
  const share = Number(byId("cut").value);
  for (const each of $$(".stage")) each.style.setProperty("--cut", `${share}%`);
  byId("cut").setAttribute("aria-valuetext", `${share} % original, ${100 - share} % protected`);
}

function open(fake) {
  current = fake;
  const face = fake.closest(".face");
  const image = (name) => face.querySelector(`.${name} img`);
  stage("photo-stage", image("original"), image("protected"));
  stage("fake-stage", fake.querySelector("img"), fake.querySelector("img"));
  byId("compare-title").textContent = `${fake.querySelector("img").alt.split(":")[0]}, ${fake.closest(".card").dataset.name}`;
  byId("compare-state").textContent = fake.querySelector("span").textContent;
  cut();
  if (!byId("compare").open) byId("compare").showModal();
}

function step(by) {
  const fakes = $$(".card:not([hidden]) .fake:not([hidden])");
  open(fakes[(fakes.indexOf(current) + by + fakes.length) % fakes.length]);
}

function drag(event) {
  if (event.type === "pointermove" && !event.buttons) return;
  const box = event.currentTarget.getBoundingClientRect();
  byId("cut").value = Math.round(100 * (event.clientX - box.left) / box.width);
  cut();
}

byId("cards").addEventListener("click", (event) => {
  const button = event.target.closest(".fake button");
  if (button) open(button.closest(".fake"));
});
for (const each of $$(".stage")) {
  each.addEventListener("pointerdown", drag);
  each.addEventListener("pointermove", drag);
}
byId("cut").addEventListener("input", cut);
byId("before").addEventListener("click", () => step(-1));
byId("after").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => byId("compare").close());
byId("compare").addEventListener("close", () => {
  const details = current.closest("details");
  if (details) details.open = true;
  current.querySelector("button").focus();
});
for (const id of ["search", "state", "model", "intact"]) byId(id).addEventListener("input", filter);
byId("sort").addEventListener("input", sort);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("controls").hidden = false;
filter();
