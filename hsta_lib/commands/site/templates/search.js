"use strict";
// Sections that hold every word of the query, those with a word in their heading first.
const sections = JSON.parse(document.getElementById("sections").textContent);
const found = document.getElementById("found"), count = document.getElementById("count");
const most = 12;

function rank([, , heading, text], words) {
  const name = heading.toLowerCase(), all = name + " " + text.toLowerCase();
  return words.every((word) => all.includes(word)) ? 1 + words.filter((word) => name.includes(word)).length : 0;
}

function item([page, anchor, heading, text], word) {
  const line = document.createElement("li"), link = document.createElement("a");
  link.href = page + "#" + anchor;
  link.textContent = heading;
  const at = Math.max(0, text.toLowerCase().indexOf(word) - 40);
  line.append(link, " " + (at ? "… " : "") + text.slice(at, at + 140));
  return line;
}

function search() {
  const words = document.getElementById("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  const ranked = words.length ? sections.map((section) => [rank(section, words), section]) : [];
  const hits = ranked.filter(([points]) => points).sort((a, b) => b[0] - a[0]);
  found.replaceChildren(...hits.slice(0, most).map(([, section]) => item(section, words[0])));
  count.textContent = words.length ? `${hits.length} sections${hits.length > most ? `, the first ${most}` : ""}` : "";
}

document.getElementById("query").addEventListener("input", search);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
