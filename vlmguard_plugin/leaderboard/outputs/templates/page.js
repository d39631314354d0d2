"use strict";
const root = document.documentElement;
root.classList.add("js");

// Light and dark: the system's until the button says otherwise.
const toggle = document.getElementById("theme");
const preferred = matchMedia("(prefers-color-scheme: dark)");
const stored = () => { try { return localStorage.getItem("vlmguard-theme"); } catch { return null; } };
const theme = () => root.dataset.theme || (preferred.matches ? "dark" : "light");
const named = () => { toggle.textContent = theme() === "dark" ? "Light" : "Dark"; toggle.setAttribute("aria-label", "Switch to " + toggle.textContent.toLowerCase() + " colours"); };
if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
toggle.addEventListener("click", () => {
  root.dataset.theme = theme() === "dark" ? "light" : "dark";
  try { localStorage.setItem("vlmguard-theme", root.dataset.theme); } catch { /* a page without storage forgets */ }
  named();
});
preferred.addEventListener("change", named);
named();

// Sorting: stable, cells without a value last in both directions.
const value = (row, column) => {
  const text = row.cells[column].dataset.v;
  return text === undefined ? null : text.trim() !== "" && !isNaN(text) ? Number(text) : text;
};
const compare = (one, other) => typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const down = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [row, value(row, column)]);
    rows.sort(([, one], [, other]) => one === null || other === null ? (one === null) - (other === null) : (down ? -1 : 1) * compare(one, other));
    body.append(...rows.map(([row]) => row));
  }));
}

// The scatter: other data sets on its axes. Positions come with the page.
const chart = document.getElementById("scatter");
if (chart) {
  const { safety, utility, labels, offsets, frame } = JSON.parse(document.getElementById("scatter-data").textContent);
  const [up, across] = ["safety", "utility"].map((id) => document.getElementById(id));
  const make = (name, facts, words = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, one] of Object.entries(facts)) made.setAttribute(key, one);
    made.textContent = words;
    return made;
  };
  const set = (node, facts) => { for (const [key, one] of Object.entries(facts)) node.setAttribute(key, one); };
  const draw = () => {
    const x = utility[across.value], y = safety[up.value];
    chart.querySelector(".axis.x").replaceChildren(...x.ticks.flatMap(([at, words]) => [
      make("line", { x1: at, x2: at, y1: frame.top, y2: frame.high - frame.bottom }),
      make("text", { x: at, y: frame.high - frame.bottom + 18, "text-anchor": "middle" }, words)]));
    chart.querySelector(".axis.y").replaceChildren(...y.ticks.flatMap(([at, words]) => [
      make("line", { x1: frame.left, x2: frame.wide - frame.right, y1: at, y2: at }),
      make("text", { x: frame.left - 8, y: at + 4, "text-anchor": "end" }, words)]));
    document.getElementById("scatter-x").textContent = x.name + ", % → better";
    document.getElementById("scatter-y").textContent = y.name + ", % → better";
    chart.querySelectorAll(".point").forEach((point, number) => {
      const right = x.points[number], high = y.points[number];
      point.toggleAttribute("hidden", !right || !high);
      if (!right || !high) return;
      const words = `${point.dataset.name}: ${y.name} ${high[3]}; ${x.name} ${right[3]}`;
      point.setAttribute("aria-label", words);
      point.querySelector("title").textContent = words;
      set(point.querySelector(".across"), { x1: right[1], x2: right[2], y1: high[0], y2: high[0] });
      set(point.querySelector(".along"), { x1: right[0], x2: right[0], y1: high[1], y2: high[2] });
      point.querySelector(".at").setAttribute("transform", `translate(${right[0]} ${high[0]})`);
      const place = labels[up.value][across.value][number], label = point.querySelector("text");
      label.toggleAttribute("hidden", place < 0);
      if (place >= 0) set(label, { x: offsets[place][0], y: offsets[place][1], "text-anchor": offsets[place][2] });
    });
  };
  up.addEventListener("change", draw);
  across.addEventListener("change", draw);
  draw(); // a browser that comes back keeps what was chosen
}

// A link to something folded opens it.
const open = () => {
  let node = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  const target = node;
  for (; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target && target.tagName === "DETAILS") { target.scrollIntoView(); target.querySelector("summary").focus({ preventScroll: true }); }
};
addEventListener("hashchange", open);
document.addEventListener("click", (event) => { const link = event.target.closest("a[href^='#']"); if (link && link.getAttribute("href") === location.hash) open(); });
open();

// On paper everything is unfolded but the answers.
addEventListener("beforeprint", () => document.querySelectorAll("details:not(.answers, .answers *)").forEach((one) => { one.open = true; }));
