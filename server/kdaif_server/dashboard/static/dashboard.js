// Puts pieces of pages, made by the server, where they belong; the pages work without.
"use strict";

function piece(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

function followList(list) {
  const source = new EventSource(list.dataset.liveList);
  source.addEventListener("row", (event) => {
    const { id, html } = JSON.parse(event.data);
    const row = piece(html);
    const old = document.getElementById(id);
    document.querySelector("[data-until-first]")?.remove();
    if (!old) {
      row.classList.add("fresh");
      list.prepend(row);
    } else if (old.outerHTML !== row.outerHTML && !old.contains(document.activeElement)) {
      old.replaceWith(row);
    }
  });
}

function followJob(live) {
  const source = new EventSource(live.dataset.liveJob);
  let waiting = 0;
  source.addEventListener("live", (event) => live.replaceChildren(piece(event.data)));
  source.addEventListener("round", () => {
    clearTimeout(waiting);
    waiting = setTimeout(Charts.all, 250);
  });
  // Another state means other things to read and to do.
  source.addEventListener("changed", () => {
    source.close();
    location.reload();
  });
}

function remember(field) {
  const key = `kdaif-${field.dataset.remember}`;
  try {
    if (!field.value) field.value = localStorage.getItem(key) || "";
    field.form.addEventListener("submit", () => localStorage.setItem(key, field.value));
  } catch {
    // A browser that keeps nothing.
  }
}

Charts.all();
for (const list of document.querySelectorAll("[data-live-list]")) followList(list);
for (const live of document.querySelectorAll("[data-live-job]:not([data-over])")) followJob(live);
for (const field of document.querySelectorAll("[data-remember]")) remember(field);
for (const invalid of document.querySelectorAll("[aria-invalid='true']")) {
  invalid.focus();
  break;
}
// A choice beside a field is meant when the field is used.
for (const inset of document.querySelectorAll(".inset")) {
  inset.addEventListener("input", () => inset.previousElementSibling?.querySelector("input[type=radio]")?.click());
}
