
"use strict";

// What the pages of all tasks share. Text of the data becomes text nodes, never markup.

const PAGE_SIZE = 20;
const TYPING_PAUSE = 150; // milliseconds

function readData(name) {
  return JSON.parse(document.getElementById(name)?.textContent ?? "{}");
}

const TEXTS = readData("language"); // by their English; none on an English page

// A text in the page's language, with values for the names in braces.
function t(text, values = {}) {
  return (TEXTS[text] ?? text).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

function whole(number) {
  return number.toLocaleString("en");
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

function percent(value) {
  return value === null ? "–" : (100 * value).toFixed(2);
}

const OUTCOMES = {
  exact: t("exact"), partly: t("partly"), right: t("right"), wrong: t("wrong"),
};

// A word that says how good an item is, in its colour.
function makeOutcome(kind, text = OUTCOMES[kind]) {
  return make("span", { class: `outcome ${kind}` }, text);
}

// The line about an item, with a link that shows it alone.
function makeAbout(id, ...parts) {
  const link = `#${new URLSearchParams({ q: `id:${id}` })}`;
  return make("p", { class: "about" }, ...parts, make("a", { href: link }, id));
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

// The labels of the spans that end at a place; one for spans of several kinds with the same.
function makeLabels(spans, place) {
  const ending = spans.filter((span) => span[1] === place && span[3]);
  return [...new Set(ending.map((span) => span[3]))].map((label) => {
    const kinds = ending.filter((span) => span[3] === label).map((span) => span[2]).sort();
    return make("small", { class: `label ${kinds.join(" ")}` }, label);
  });
}

// The characters from `start` to `end`, with spans [start, end, kind, label] marked; those that
// overlap have the kinds of both. Labels may be left out.
function markSpans(chars, spans, start, end) {
  const inside = spans.flatMap((span) => span.slice(0, 2)).filter((at) => at > start && at < end);
  const cuts = [...new Set([start, ...inside, end])].sort((a, b) => a - b);
  const fragment = document.createDocumentFragment();
  for (let i = 0; i + 1 < cuts.length; i++) {
    const text = chars.slice(cuts[i], cuts[i + 1]).join("");
    const here = spans.filter((span) => span[0] <= cuts[i] && span[1] >= cuts[i + 1]);
    const kinds = [...new Set(here.map((span) => span[2]))].sort();
    fragment.append(kinds.length ? make("mark", { class: kinds.join(" ") }, text) : text);
    fragment.append(...makeLabels(spans, cuts[i + 1]));
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
// what is chosen: #filter=wrong&order=f1&q=서울&page=2. Searching for id:7 finds the item of that id.
//
// items: each has an id, if it is to be found by it.
// matches(item, filter, chosen): whether the menus let an item through; chosen has the values of
//   all of them by name, that of the filter too.
// contains(item, query): whether an item has the folded query somewhere in its text.
// compare: for each order of the menu but the first, a function for Array.sort.
// render(item): an li element.
function showList({ items, matches, contains, compare, render }) {
  const [list, search, filter, order, count, shown, previous, next] = [
    "list", "search", "filter", "order", "count", "items", "previous", "next",
  ].map((name) => document.getElementById(name));
  const menus = [...search.form.querySelectorAll("select")];
  let page = 0;
  let found = items;

  function find() {
    const query = folded(search.value.trim());
    const id = query.startsWith("id:") ? query.slice(3) : null;
    const has = (item) => (id === null ? contains(item, query) : folded(item.id ?? "") === id);
    const chosen = Object.fromEntries(menus.map((menu) => [menu.id, menu.value]));
    found = items.filter((item) => matches(item, filter.value, chosen) && (!query || has(item)));
    if (compare[order.value]) found = [...found].sort(compare[order.value]);
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE_SIZE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const first = page * PAGE_SIZE;
    const here = found.slice(first, first + PAGE_SIZE);
    shown.replaceChildren(...here.map(render));
    const range = `${first + 1}–${first + here.length}`;
    const [few, all] = [whole(found.length), whole(items.length)];
    count.textContent = (here.length ? t("{range} of {count}", { range, count: few }) : few)
      + (few === all ? "" : t(" ({count} in all)", { count: all }));
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }

  function readAddress() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const menu of menus) {
      menu.value = state.get(menu.id) ?? "";
      if (menu.selectedIndex < 0) menu.selectedIndex = 0;
    }
    search.value = state.get("q") ?? "";
    page = (Number.parseInt(state.get("page"), 10) || 1) - 1;
    find();
    draw();
  }

  function writeAddress() {
    const state = new URLSearchParams();
    for (const menu of menus) if (menu.selectedIndex > 0) state.set(menu.id, menu.value);
    if (search.value) state.set("q", search.value);
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
  for (const menu of menus) menu.addEventListener("change", choose);
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  // A link to a section has no state.
  const hasState = () => location.hash.includes("=");
  addEventListener("hashchange", () => {
    if (!hasState()) return;
    readAddress();
    list.scrollIntoView();
  });
  readAddress();
  list.hidden = false;
  if (hasState()) list.scrollIntoView();
}
