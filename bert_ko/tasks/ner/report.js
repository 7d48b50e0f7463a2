
const data = readData("data");

function makeText(sentence) {
  const chars = characters(sentence.text);
  const spans = [
    ...sentence.golds.map(([type, start, end]) => [start, end, "gold", type]),
    ...sentence.predicted.map(([type, start, end]) => [start, end, "answer", type]),
  ];
  return make("p", { class: "sentence", lang: "ko" }, markSpans(chars, spans, 0, chars.length));
}

function makeEntity(chars, [type, start, end]) {
  return make("span", {}, korean(chars.slice(start, end).join("")), ` (${type})`);
}

function makeError(chars, { kind, gold, predicted }) {
  const parts = [make("strong", {}, data.kinds[kind]), ": "];
  if (gold) parts.push(t("gold "), makeEntity(chars, gold));
  if (gold && predicted) parts.push(", ");
  if (predicted) parts.push(t("predicted "), makeEntity(chars, predicted));
  return make("li", {}, ...parts);
}

function makeOutcomeOf({ errors }) {
  if (!errors.length) return makeOutcome("right");
  return makeOutcome("wrong", errors.length === 1 ? t("1 error") : t("{count} errors", { count: errors.length }));
}

function makeSentence(sentence) {
  const chars = characters(sentence.text);
  const errors = sentence.errors.map((error) => makeError(chars, error));
  return make("li", {},
    makeText(sentence),
    makeAbout(sentence.id, makeOutcomeOf(sentence)),
    ...(errors.length ? [make("ul", { class: "errors" }, ...errors)] : []),
  );
}

// Of a type are the errors that count for it; without regard to errors, the entities.
function matches(sentence, filter, { type }) {
  const { errors, golds, predicted } = sentence;
  if (filter === "right" && errors.length) return false;
  if (filter === "all" || filter === "right") {
    return !type || [...golds, ...predicted].some((entity) => entity[0] === type);
  }
  return errors.some((error) =>
    (filter === "wrong" || filter === error.kind) && (!type || type === error.type));
}

showList({
  items: data.sentences,
  matches,
  contains: (sentence, query) => {
    sentence.folded ??= folded(sentence.text);
    return sentence.folded.includes(query);
  },
  compare: { errors: (a, b) => b.errors.length - a.errors.length },
  render: makeSentence,
});
