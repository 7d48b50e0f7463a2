
const data = readData("data");
const isRegression = !data.labels.length;

function makeTexts(example) {
  const items = example.texts.map((text) =>
    make("li", {}, text.trim() ? korean(text) : make("em", {}, t("no text"))));
  return make("ul", { class: "texts" }, ...items);
}

// The name of a label, marked as the gold and the predicted ones are.
function makeLabel(example, label) {
  const kinds = [];
  if (label === example.best[0][0]) kinds.push("answer");
  if (label === example.gold) kinds.push("gold");
  const attributes = { lang: "ko", ...(kinds.length ? { class: kinds.join(" ") } : {}) };
  return make(kinds.length ? "mark" : "span", attributes, data.labels[label]);
}

function makePercent(probability) {
  return make("data", {}, probability === null ? "–" : `${percent(probability)} %`);
}

function makeBar(probability) {
  const width = `width: ${percent(probability ?? 0)}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, make("span", { style: width }));
}

// The likeliest labels, and the gold one where it is none of them.
function makeBest(example) {
  const isThere = example.best.some(([label]) => label === example.gold);
  const best = isThere ? example.best : [...example.best, [example.gold, example.probability]];
  const items = best.map(([label, probability]) =>
    make("li", {},
      make("span", {}, makeLabel(example, label)),
      makeBar(probability),
      makePercent(probability),
    ));
  return make("ul", { class: "best", "aria-label": t("Probabilities") }, ...items);
}

function makeRows(...rows) {
  const parts = rows.flatMap(([name, ...value]) =>
    [make("dt", {}, name), make("dd", {}, ...value)]);
  return make("dl", { class: "answers" }, ...parts);
}

function makeClassified(example) {
  return make("li", {},
    makeTexts(example),
    makeAbout(example.id, makeOutcome(example.outcome)),
    makeRows(
      [t("Gold"), korean(data.labels[example.gold])],
      [t("Predicted"), korean(data.labels[example.best[0][0]])],
    ),
    makeBest(example),
  );
}

function difference(example) {
  return example.predicted === null ? null : example.predicted - example.gold;
}

function written(value, form) {
  if (value === null) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: 3, ...form });
}

function makeScored(example) {
  return make("li", {},
    makeTexts(example),
    makeAbout(example.id),
    makeRows(
      [t("Gold"), written(example.gold)],
      [t("Predicted"), written(example.predicted)],
      [t("Difference"), written(difference(example), { signDisplay: "exceptZero" })],
    ),
  );
}

function contains(example, query) {
  example.folded ??= folded(example.texts.join("\n"));
  return example.folded.includes(query);
}

// The surest mistakes first, the surest right ones last.
function confidence(example) {
  const probability = example.best[0][1] ?? 0;
  return example.outcome === "wrong" ? probability : -1 - probability;
}

function error(example) {
  return Math.abs(difference(example) ?? Infinity);
}

// Not a difference: two infinities would have none.
function ascending(a, b) {
  return a < b ? -1 : Number(a > b);
}

const CLASSES = {
  matches: (example, filter, { gold, predicted }) =>
    (filter === "all" || filter === example.outcome)
    && (!gold || Number(gold) === example.gold)
    && (!predicted || Number(predicted) === example.best[0][0]),
  compare: {
    confident: (a, b) => ascending(confidence(b), confidence(a)),
    unlikely: (a, b) => ascending(a.probability ?? -1, b.probability ?? -1),
  },
  render: makeClassified,
};

const REGRESSION = {
  matches: (example, filter) =>
    filter === "all" || (filter === "high" ? difference(example) > 0 : difference(example) < 0),
  compare: {
    largest: (a, b) => ascending(error(b), error(a)),
    smallest: (a, b) => ascending(error(a), error(b)),
  },
  render: makeScored,
};

showList({ items: data.examples, contains, ...(isRegression ? REGRESSION : CLASSES) });
