"use strict";
// Of any row its images and its confusions, drawn from the data of the page. Stands before page.js, which makes and begins; names come from
// the data as text, never as HTML.

// Image by image ---------------------------------------------------------------------------------------------------

const FATES = ["wrong before", "fell", "stood"];
const VIEWS = { attacked: "attacked", original: "original", change: "change", all: "all three" };
const originals = new Map();

async function original(place) {
  if (!originals.has(place)) {
    const [, , channels] = data.images.shape;
    const bytes = await unpacked(data.images.originals[place]);
    for (let i = channels; i < bytes.length; i += 1) bytes[i] += bytes[i - channels]; // they are differences, modulo 256
    originals.set(place, bytes);
  }
  return originals.get(place);
}

function painted(name, pixel) {
  const [height, width, channels] = data.images.shape;
  const canvas = make("canvas", { width, height, role: "img", className: Math.max(width, height) > 64 ? "" : "crisp" });
  canvas.setAttribute("aria-label", name);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = pixel(i * channels + (channels < 3 ? 0 : c)); // clamped and rounded
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

async function card(images, place, view, ends) {
  const [x, packed] = await Promise.all([original(images.original[place]), unpacked(images.change[place])]);
  const change = new Int8Array(packed.buffer);
  const [step, factor] = [images.step[place], images.factor[place]];
  const names = { label: data.classes[images.label[place]], before: data.classes[images.before[place]], after: data.classes[images.after[place]] };
  const what = {
    original: () => painted(`original: ${names.label}`, (i) => x[i]),
    attacked: () => painted(`attacked ${names.label}, answer ${names.after}`, (i) => x[i] + 255 * step * change[i]),
    change: () => painted(`what was changed, times ${factor}`, (i) => 127.5 + 255 * factor * step * change[i]),
  };
  const fate = images.fate[place];
  const rank = images.rank[place];
  const end = fate === 1 && rank === 0 ? ", the first of all" : fate === 2 && rank === ends ? ", the last of all" : "";
  const said = make("p", {}, make("span", { className: `fate ${["wrong", "fell", "stood"][fate]}` }, FATES[fate]), end);
  const [before, after] = [`${images.sureBefore[place]}\u00a0%`, `${images.sureAfter[place]}\u00a0%`];
  const notes = [make("p", {}, names.label, fate ? make("span", { className: "note" }, ` ${before}`) : "")];
  if (!fate) notes.push(make("p", { className: "note" }, `taken for ${names.before} ${before}`));
  notes.push(make("p", {}, "→ ", names.after === names.label ? "the same" : names.after, make("span", { className: "note" }, ` ${after}`)));
  const far = new Set(images.distance.filter((text, at) => images.fate[at])); // of one eps most are as far as that: no news
  if (far.size > 1 && images.distance[place]) notes.push(make("p", { className: "note" }, `distance ${images.distance[place]}`));
  if (view === "change" || view === "all") notes.push(make("p", { className: "note" }, change.some(Boolean) ? `change × ${factor}` : "no change"));
  const seen = (view === "all" ? ["original", "attacked", "change"] : [view]).map((name) => what[name]());
  return make("li", {}, make("div", { className: "views" }, ...seen), said, ...notes);
}

function looking(place) {
  const choices = data.choices.map((name) => [name, make("select")]);
  const title = make("p", { className: "chosen", "aria-live": "polite" });
  const link = make("a");
  const buttons = Object.entries(VIEWS).map(([view, text]) => make("button", { type: "button", className: "button", "data-view": view }, text));
  const order = make("select", {}, make("option", { value: "0" }, "fell first"), make("option", { value: "1" }, "stood last"));
  const only = make("select", {}, make("option", { value: "" }, "all"), ...FATES.map((text, fate) => make("option", { value: String(fate) }, text)).slice(1));
  const cards = make("ul", { className: "cards" });
  const note = make("p", { className: "files" });
  const confused = make("div");
  let [shown, view, turn] = [null, "attacked", 0];

  async function draw() {
    const images = data.images.rows[shown];
    const mine = (turn += 1);
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === view)));
    let places = images ? [...images.rank.keys()] : [];
    const last = Math.max(...places.map((at) => images.rank[at]), -1);
    places.sort((a, b) => (images.fate[a] === 0) - (images.fate[b] === 0) || (order.value === "1" ? -1 : 1) * (images.rank[a] - images.rank[b]));
    places = places.filter((at) => !only.value || String(images.fate[at]) === only.value);
    const drawn = await Promise.all(places.map((at) => card(images, at, view, last)));
    if (mine !== turn) return;
    cards.classList.toggle("wide", view === "all");
    cards.replaceChildren(...drawn);
    const told = images
      ? "Of the images that were right before the attack: those that fell first (the nearest, then the most surely wrong), those that stood last, and some between. Below each its true class and the answer, with its confidence before and after the attack."
      : "No images are kept for this row.";
    note.textContent = told;
  }

  function select(number, { quiet = false } = {}) {
    if (!data.rows[number]) return;
    shown = number;
    let left = data.rows.map((row, at) => at);
    choices.forEach(([, control], column) => {
      const values = [...new Set(left.map((at) => data.rows[at][column]))];
      control.replaceChildren(...values.map((text) => make("option", { value: text }, text)));
      control.value = data.rows[number][column];
      control.disabled = values.length < 2;
      left = left.filter((at) => data.rows[at][column] === control.value);
    });
    title.textContent = data.rows[number][data.choices.length] + ". ";
    link.textContent = `Row ${number}`;
    link.href = `#row-${number}`;
    title.append(link);
    draw();
    confusing(confused, number, draw);
    if (!quiet) history.replaceState(null, "", `#see-${number}`);
  }

  function chosen(column) { // what was chosen, and of the rest as much as is there
    let left = data.rows.map((row, at) => at);
    choices.forEach(([, control], at) => {
      const kept = left.filter((number) => data.rows[number][at] === control.value);
      if (kept.length || at <= column) left = kept;
      else {
        const first = data.rows[left.find((number) => data.images.rows[number]) ?? left[0]][at];
        left = left.filter((number) => data.rows[number][at] === first);
      }
    });
    select(left[0]);
  }

  choices.forEach(([, control], column) => control.addEventListener("change", () => chosen(column)));
  buttons.forEach((button) => button.addEventListener("click", () => { view = button.dataset.view; draw(); }));
  [order, only].forEach((control) => control.addEventListener("change", draw));
  const several = choices.filter((_, column) => new Set(data.rows.map((row) => row[column])).size > 1).map(([name, control]) => labelled(name, control));
  const group = make("div", { className: "group-of", role: "group", "aria-label": "What of the images is shown" }, ...buttons);
  place.append(
    make("div", { className: "controls", id: "choices" }, ...several),
    title,
    make("div", { className: "controls" }, group, labelled("order", order), labelled("only", only)),
    cards, note, confused,
  );
  place.hidden = false;
  return select;
}

// Confusion --------------------------------------------------------------------------------------------------------

const MOST = 30;

async function confusing(place, number) {
  place.dataset.row = number;
  const packed = data.confusions[number];
  if (!packed) return place.replaceChildren();
  const table = new Uint32Array((await unpacked(packed)).buffer);
  if (place.dataset.row !== String(number)) return undefined;
  const many = table.length / 3;
  const entries = Array.from({ length: many }, (_, at) => ({ label: table[at], answer: table[many + at], count: table[2 * many + at] }));
  const totals = new Map();
  entries.forEach(({ label, count }) => totals.set(label, (totals.get(label) ?? 0) + count));
  const errors = entries.filter(({ label, answer }) => label !== answer).sort((a, b) => b.count - a.count);
  const all = [...new Set(entries.flatMap(({ label, answer }) => [label, answer]))];
  const kept = all.length <= 50 ? all : [...new Set([...errors.flatMap(({ label, answer }) => [label, answer]), ...all])].slice(0, MOST);
  kept.sort((a, b) => a - b);
  const told = (entry) => `${data.classes[entry.label]} ${entry.label === entry.answer ? "is right" : `taken for ${data.classes[entry.answer]}`}: ${entry.count} of ${totals.get(entry.label)}`;
  const detail = make("p", { "aria-live": "polite", id: "cell" });
  const found = make("ul", { className: "cards wide" });
  const controls = [];

  async function open(entry) {
    const images = data.images.rows[number];
    const places = images ? [...images.label.keys()].filter((at) => images.label[at] === entry.label && images.after[at] === entry.answer) : [];
    controls.forEach(([other, control]) => control.setAttribute("aria-pressed", String(other === entry)));
    const share = (100 * entry.count) / totals.get(entry.label);
    detail.textContent = `${told(entry)} (${share.toFixed(1)} %). ${places.length ? `${places.length} of them ${places.length === 1 ? "is" : "are"} kept here:` : "None of them is among the images kept here."}`;
    found.replaceChildren(...(await Promise.all(places.map((at) => card(images, at, "all", -2)))));
  }

  function button(entry, text, properties = {}, count = null) {
    const control = make("button", { type: "button", className: "button", "aria-pressed": "false", ...properties }, text);
    if (count !== null) control.append(make("span", {}, String(count)));
    control.addEventListener("click", () => open(entry));
    controls.push([entry, control]);
    return control;
  }

  const top = errors.slice(0, 6).map((entry) => make("li", {}, button(entry, `${data.classes[entry.label]} → ${data.classes[entry.answer]} `, {}, entry.count)));
  const byPlace = new Map(entries.map((entry) => [`${entry.label} ${entry.answer}`, entry]));
  const grid = kept.map((label) => kept.map((answer) => {
    const entry = byPlace.get(`${label} ${answer}`);
    if (!entry) return null;
    const control = button(entry, String(entry.count), { className: label === answer ? "c0" : "c1", title: told(entry), "aria-label": told(entry), tabIndex: -1 });
    control.style.setProperty("--share", Math.sqrt(entry.count / totals.get(label)).toFixed(3));
    return control;
  }));
  grid.flat().find(Boolean).tabIndex = 0;
  const head = make("tr", {}, make("td"), ...kept.map((answer) => make("th", { scope: "col" }, make("span", { title: data.classes[answer] }, data.classes[answer]))));
  const body = grid.map((line, at) => make("tr", {}, make("th", { scope: "row", title: data.classes[kept[at]] }, data.classes[kept[at]]), ...line.map((control) => make("td", {}, control ?? ""))));
  const matrix = make("table", { className: "matrix" }, make("thead", {}, head), make("tbody", {}, ...body));
  matrix.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    let [row, column] = grid.map((line, at) => [at, line.indexOf(event.target)]).find(([, at]) => at >= 0) ?? [0, 0];
    do [row, column] = [row + step[0], column + step[1]]; while (grid[row] && column >= 0 && column < kept.length && !grid[row][column]);
    const next = grid[row]?.[column];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  const part = kept.length < all.length ? ` The ${kept.length} of ${all.length} classes that are confused most.` : "";
  place.replaceChildren(
    make("h3", {}, "Confusion"),
    errors.length ? make("ul", { className: "pairs" }, ...top) : make("p", {}, "No image was taken for another class."),
    detail, found,
    make("details", { open: kept.length <= 15 }, make("summary", {}, "The whole matrix"),
      make("p", { className: "files" }, `Lines: the true class; columns: the answer; right answers blue, wrong ones orange, the deeper the larger their share (square root).${part}`),
      make("div", { className: "scroll", tabIndex: 0, role: "group", "aria-label": "Confusion matrix" }, matrix)),
  );
  return undefined;
}

