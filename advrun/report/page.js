// The page is whole without scripts. With this one, which stands behind looking.js, tables sort and filter, curves tell their values to a
// pointer and to the arrow keys, and every row shows its images and its confusions.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = document.getElementById("rows");

function make(tag, properties = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...inside);
  return element;
}

function labelled(text, control) {
  return make("label", {}, text, control);
}

// Bytes that the page carries: "z:", and base64 of what zlib deflated.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.slice(2)), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The table of all measurements ------------------------------------------------------------------------------------

function value(text) {
  const part = text.trim().match(/^-?[\d.,]+(e-?\d+)?(\/\d+)?/);
  if (!part) return text.trim() === "" ? null : text.trim();
  const [above, below] = part[0].replaceAll(",", "").split("/");
  return Number(above) / Number(below ?? 1);
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // nothing comes last, whichever way
  if (typeof a === "number" && typeof b === "number") return a - b;
  return typeof a === typeof b ? a.localeCompare(b) : typeof a === "number" ? -1 : 1;
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const lines = [...table.tBodies[0].rows];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = lines.map((line, place) => [value(line.cells[column].textContent), place, line]);
      keyed.sort(([a, i], [b, j]) => (down && a !== null && b !== null ? compare(b, a) : compare(a, b)) || i - j);
      table.tBodies[0].append(...keyed.map(([, , line]) => line));
    });
  });
}

function filterable(table) {
  const lines = [...table.tBodies[0].rows];
  const texts = lines.map((line) => line.textContent.toLowerCase());
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const search = make("input", { type: "search" });
  const flagged = make("input", { type: "checkbox" });
  const count = make("output", { className: "count" });
  const selects = data.choices.slice(0, 5).map((name, place) => {
    const values = [...new Set(data.rows.map((row) => row[place]))];
    const select = make("select", {}, make("option", { value: "" }, "all"), ...values.map((text) => make("option", { value: text }, text)));
    return [name, place, select, values.length > 1];
  });
  const marks = heads.indexOf("flags");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    lines.forEach((line, place) => {
      const chosen = selects.every(([, column, select]) => !select.value || data.rows[place][column] === select.value);
      const kept = chosen && words.every((word) => texts[place].includes(word)) && (!flagged.checked || line.cells[marks].textContent);
      line.hidden = !kept;
      left += kept ? 1 : 0;
    });
    count.value = `${left} of ${lines.length} rows`;
  };
  const shown = selects.filter(([, , , several]) => several).map(([name, , select]) => labelled(name, select));
  const check = make("label", { className: "check" }, flagged, "only flagged");
  const controls = make("div", { className: "controls", id: "filters" }, labelled("find", search), ...shown, check, count);
  for (const event of ["input", "change"]) controls.addEventListener(event, apply);
  table.parentElement.before(controls);
  apply();
  return (line) => { // a link leads to a row that the filters hide: they give way
    if (!line.hidden) return;
    search.value = "";
    flagged.checked = false;
    selects.forEach(([, , select]) => { select.value = ""; });
    apply();
  };
}

// Curves -----------------------------------------------------------------------------------------------------------

function telling(figure) {
  const drawn = figure.querySelector("svg[viewBox][role=group]");
  const traces = [...drawn.querySelectorAll(".trace")].map((trace) => [...trace.querySelectorAll("a, g")]);
  const points = traces.flat();
  const box = make("div", { className: "tells", hidden: true, "aria-hidden": "true" });
  figure.append(box);
  const texts = new Map(points.map((point) => [point, point.querySelector("title").textContent]));
  points.forEach((point, place) => {
    point.querySelector("title").remove(); // else the browser shows the same a second time
    point.setAttribute("aria-label", texts.get(point));
    if (point.tagName !== "a") point.setAttribute("role", "img");
    point.setAttribute("tabindex", place ? "-1" : "0");
  });
  let now = null;
  const show = (point) => {
    now?.classList.remove("at");
    now = point;
    box.hidden = !point;
    if (!point) return;
    point.classList.add("at");
    box.textContent = texts.get(point);
    const [dot, frame] = [point.querySelector(".dot").getBoundingClientRect(), figure.getBoundingClientRect()];
    const left = dot.left + dot.width / 2 - frame.left - box.offsetWidth / 2;
    box.style.left = `${Math.max(0, Math.min(left, frame.width - box.offsetWidth))}px`;
    box.style.top = `${dot.top - frame.top - box.offsetHeight - 8}px`;
  };
  drawn.addEventListener("pointermove", (event) => {
    const near = points.map((point) => {
      const dot = point.querySelector(".dot").getBoundingClientRect();
      return [Math.hypot(dot.left + dot.width / 2 - event.clientX, dot.top + dot.height / 2 - event.clientY), point];
    }).sort(([a], [b]) => a - b)[0];
    show(near && near[0] < 28 ? near[1] : null);
  });
  drawn.addEventListener("pointerleave", () => show(null));
  drawn.addEventListener("focusin", (event) => show(event.target.closest("a, g[tabindex]")));
  drawn.addEventListener("focusout", () => show(null));
  drawn.addEventListener("keydown", (event) => {
    const here = event.target.closest("a, g[tabindex]");
    const line = traces.findIndex((trace) => trace.includes(here));
    const place = line < 0 ? -1 : traces[line].indexOf(here);
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (event.key === "Escape") show(null);
    if (!step || place < 0) return;
    event.preventDefault();
    const trace = traces[(line + step[0] + traces.length) % traces.length];
    const next = trace[Math.max(0, Math.min(trace.length - 1, place + step[1]))];
    here.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

// The whole --------------------------------------------------------------------------------------------------------

sortable(rows);
const unhide = filterable(rows);
const select = data.rows.length ? looking(document.getElementById("looking")) : () => {};
[...rows.tBodies[0].rows].forEach((line, number) => {
  const cell = line.cells[0];
  if (data.images.rows[number] || data.confusions[number]) cell.append(" ", make("a", { href: `#see-${number}`, "aria-label": `see row ${number}, image by image` }, "see"));
});

const waiting = new IntersectionObserver((seen) => seen.forEach(({ isIntersecting, target }) => {
  if (!isIntersecting) return;
  waiting.unobserve(target);
  telling(target);
}), { rootMargin: "400px" });
document.querySelectorAll("figure.chart").forEach((figure) => waiting.observe(figure));

let begun = false;
function arrive() {
  const [, kind, number] = location.hash.match(/^#(see|row)-(\d+)$/) ?? [];
  const target = kind === "see" ? document.getElementById("looking") : document.getElementById(location.hash.slice(1));
  if (kind === "see") select(Number(number));
  else if (!begun && data.rows.length) select(data.first ?? 0, { quiet: true });
  begun = true;
  for (let at = target?.parentElement; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (kind === "row" && target) unhide(target);
  rows.querySelector(".found")?.classList.remove("found");
  if (kind === "row") target?.classList.add("found");
  if (target && (kind || target.closest("details"))) target.scrollIntoView({ block: kind === "row" ? "center" : "start" });
}
addEventListener("hashchange", arrive);
arrive();

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((each) => { each.open = true; });
});
addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
