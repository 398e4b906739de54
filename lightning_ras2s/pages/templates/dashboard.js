"use strict";
const table = document.getElementById("runs");
const body = table.tBodies[0];
const headers = [...table.tHead.rows[0].cells];

// Numbers as numbers, the rest as text; empty cells last in both directions.
function compare(a, b, sign, numbers) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return sign * (numbers ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
}

function sortBy(column) {
  const header = headers[column];
  const numbers = header.classList.contains("number");
  const first = numbers ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = header.getAttribute("aria-sort") === first ? other : first;
  for (const each of headers) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.value;
  body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), sign, numbers)));
}

headers.forEach((header, column) => {
  header.querySelector("button")?.addEventListener("click", () => sortBy(column));
});

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const row of body.rows) {
    const text = `${row.dataset.name} ${row.textContent}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = shown;
});
