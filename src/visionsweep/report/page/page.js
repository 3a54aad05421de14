"use strict";
// What needs no chart: the theme, sorting, copying.

const root = document.documentElement;
const say = (text) => { document.getElementById("said").textContent = text; };

// Theme ---------------------------------------------------------------------------------------

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

function showTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Show the page in ${isDark() ? "light" : "dark"} colours`);
  document.dispatchEvent(new Event("themechange"));
}

themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("visionsweep-theme", root.dataset.theme);
  } catch {
    // Not remembered, then.
  }
  showTheme();
});
prefersDark.addEventListener("change", showTheme);
showTheme();
themeButton.hidden = false;

// Sorting -------------------------------------------------------------------------------------

function compare(a, b, numeric) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last
  return numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

function sortBy(table, heading) {
  const column = heading.cellIndex;
  const now = heading.getAttribute("aria-sort");
  const descending = now ? now === "ascending" : "descending" in heading.dataset;
  const order = descending ? "descending" : "ascending";
  const body = table.tBodies[0];
  const sign = descending ? -1 : 1;
  const numeric = "numeric" in heading.dataset;
  const keyed = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
  keyed.sort(([a], [b]) => compare(a, b, numeric) * (a === "" || b === "" ? 1 : sign));
  body.append(...keyed.map(([, row]) => row));
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  say(`Sorted by ${heading.textContent.trim()}, ${order}`);
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sortBy(table, button.closest("th"));
  });
}

// Copying -------------------------------------------------------------------------------------

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const done = await copy(button.parentElement.querySelector("code"));
    button.textContent = done ? "Copied" : "Selected";
    say(done ? "Copied" : "Selected: copy it with your keyboard");
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
