
"use strict";

// What the pages of all tasks share. Text of the data becomes text nodes, never markup.

const PAGE_SIZE = 20;
const TYPING_PAUSE = 150; // milliseconds

function readData(name) {
  return JSON.parse(document.getElementById(name).textContent);
}

// Strings among the children become text.
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function korean(text) {
  return make("span", { lang: "ko" }, text);
}

// A collapsed part whose content is built when it is first opened.
function makeDetails(title, build) {
  const details = make("details", {}, make("summary", {}, title));
  details.addEventListener("toggle", () => details.append(build()), { once: true });
  return details;
}

// Characters as Python counts them: code points, not the units of JavaScript's strings.
function characters(text) {
  return Array.from(text);
}

// The characters from `start` to `end`, with spans [start, end, kind] marked; those that overlap
// have the kinds of both.
function markSpans(chars, spans, start, end) {
  const inside = spans.flatMap((span) => span.slice(0, 2)).filter((at) => at > start && at < end);
  const cuts = [...new Set([start, ...inside, end])].sort((a, b) => a - b);
  const fragment = document.createDocumentFragment();
  for (let i = 0; i + 1 < cuts.length; i++) {
    const text = chars.slice(cuts[i], cuts[i + 1]).join("");
    const here = spans.filter((span) => span[0] <= cuts[i] && span[1] >= cuts[i + 1]);
    const kinds = [...new Set(here.map((span) => span[2]))].sort();
    fragment.append(kinds.length ? make("mark", { class: kinds.join(" ") }, text) : text);
  }
  return fragment;
}

// The characters around marked spans, with "…" for what lies between.
function markExcerpt(chars, spans, around) {
  const fragment = document.createDocumentFragment();
  const sorted = spans.length ? [...spans].sort((a, b) => a[0] - b[0]) : [[0, 0, ""]];
  const ranges = [];
  for (const [start, end] of sorted) {
    const range = [Math.max(0, start - around), Math.min(chars.length, end + around)];
    const last = ranges.at(-1);
    if (last && range[0] <= last[1]) last[1] = Math.max(last[1], range[1]);
    else ranges.push(range);
  }
  let shown = 0;
  for (const [start, end] of ranges) {
    if (start > shown) fragment.append("… ");
    fragment.append(markSpans(chars, spans, start, end));
    shown = end;
  }
  if (shown < chars.length) fragment.append(" …");
  return fragment;
}

// Case, and how Hangul is composed, don't matter to the search.
function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

// Shows items of the page's list, filtered, searched, sorted and page by page. The address keeps
// what is chosen: #filter=wrong&q=서울&order=f1&page=2.
//
// matches(item, filter): whether a filter of the menu lets an item through.
// contains(item, query): whether an item has the folded query somewhere in its text.
// compare: for each order of the menu but the first, a function for Array.sort.
// render(item): an li element.
function showList({ items, matches, contains, compare, render }) {
  const [list, search, filter, order, count, shown, previous, next] = [
    "list", "search", "filter", "order", "count", "items", "previous", "next",
  ].map((name) => document.getElementById(name));
  let page = 0;
  let found = items;

  function find() {
    const query = folded(search.value.trim());
    found = items.filter(
      (item) => matches(item, filter.value) && (!query || contains(item, query)),
    );
    if (compare[order.value]) found = [...found].sort(compare[order.value]);
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const first = page * PAGE_SIZE;
    const here = found.slice(first, first + PAGE_SIZE);
    shown.replaceChildren(...here.map(render));
    const range = here.length ? `${first + 1}–${first + here.length} of ` : "";
    const [few, all] = [found.length, items.length].map((n) => n.toLocaleString("en"));
    count.textContent = range + (few === all ? all : `${few} (${all} in all)`);
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }

  function readAddress() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const [name, menu] of [["filter", filter], ["order", order]]) {
      menu.value = state.get(name) ?? "";
      if (menu.selectedIndex < 0) menu.selectedIndex = 0;
    }
    search.value = state.get("q") ?? "";
    page = (Number.parseInt(state.get("page"), 10) || 1) - 1;
    find();
    draw();
  }

  function writeAddress() {
    const state = new URLSearchParams();
    if (filter.selectedIndex > 0) state.set("filter", filter.value);
    if (search.value) state.set("q", search.value);
    if (order.selectedIndex > 0) state.set("order", order.value);
    if (page) state.set("page", page + 1);
    history.replaceState(null, "", `#${state}`);
  }

  function choose() {
    page = 0;
    find();
    draw();
    writeAddress();
  }

  function turn(by) {
    page += by;
    draw();
    writeAddress();
    list.scrollIntoView();
    shown.querySelector("a")?.focus({ preventScroll: true });
  }

  let pause;
  search.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(choose, TYPING_PAUSE);
  });
  search.form.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("change", choose);
  order.addEventListener("change", choose);
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  // A link to a section has no state.
  const hasState = () => location.hash.includes("=");
  addEventListener("hashchange", () => hasState() && readAddress());
  readAddress();
  list.hidden = false;
  if (hasState()) list.scrollIntoView();
}
