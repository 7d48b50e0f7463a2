
const data = readData("data");
const AROUND = 80; // characters of the context on both sides of an answer

const contextCharacters = new Map();

function charactersOf(question) {
  if (!contextCharacters.has(question.context)) {
    contextCharacters.set(question.context, characters(data.contexts[question.context].text));
  }
  return contextCharacters.get(question.context);
}

function textAt(question, [start, end]) {
  return charactersOf(question).slice(start, end).join("");
}

// An answer is a span of the context, or the text of a gold that is not in it.
function makeAnswer(question, answer) {
  if (answer === null) return make("em", {}, "no prediction");
  const text = typeof answer === "string" ? answer : textAt(question, answer);
  return text ? korean(text) : make("em", {}, "no answer");
}

function makeGolds(question) {
  if (!question.golds.length) {
    return [make("em", {}, question.outcome === "unscored" ? "unknown" : "no answer")];
  }
  return question.golds.flatMap((gold, i) => [i ? " / " : "", makeAnswer(question, gold)]);
}

function makeQuestionAbout(question) {
  const parts = [];
  if (question.outcome !== "unscored") {
    parts.push(makeOutcome(question.outcome));
    parts.push(make("span", {}, `EM ${question.em ? 1 : 0}, F1 ${percent(question.f1)}`));
  }
  const title = data.contexts[question.context].title;
  if (title) parts.push(korean(title));
  return makeAbout(question.id, ...parts);
}

function makeAnswers(question) {
  const rows = [
    make("dt", {}, "Gold"), make("dd", {}, ...makeGolds(question)),
    make("dt", {}, "Answer"), make("dd", {}, makeAnswer(question, question.answer)),
  ];
  if (question.change) {
    const { before, em, f1, effect } = question.change;
    const score = ` (EM ${em ? 1 : 0}, F1 ${percent(f1)}; stripping: ${effect})`;
    rows.push(make("dt", {}, "Not stripped"), make("dd", {}, makeAnswer(question, before), score));
  }
  return make("dl", { class: "answers" }, ...rows);
}

function makeCandidates(question) {
  const head = ["rank", "answer", "probability", "characters"].map((name) =>
    make("th", { scope: "col", class: name === "probability" ? "number" : "" }, name));
  const rows = question.candidates.map(([start, end, probability], i) =>
    make("tr", {},
      make("th", { scope: "row" }, String(i + 1)),
      make("td", {}, makeAnswer(question, [start, end])),
      make("td", {}, make("data", {}, probability === null ? "–" : `${percent(probability)} %`)),
      make("td", {}, end > start ? `${start}–${end}` : ""),
    ));
  const label = "Candidates";
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    make("table", {},
      make("thead", {}, make("tr", {}, ...head)),
      make("tbody", {}, ...rows),
    ));
}

function spansOf(question) {
  const golds = question.golds.filter((gold) => typeof gold !== "string");
  const spans = golds.map(([start, end]) => [start, end, "gold"]);
  if (question.answer) spans.push([...question.answer, "answer"]);
  return spans.filter(([start, end]) => end > start);
}

function makeQuestion(question) {
  const chars = charactersOf(question);
  const spans = spansOf(question);
  const context = (content) => make("p", { class: "context", lang: "ko" }, content);
  return make("li", {},
    make("h3", { lang: "ko" }, question.question),
    makeQuestionAbout(question),
    makeAnswers(question),
    context(markExcerpt(chars, spans, AROUND)),
    makeDetails("Whole context", () => context(markSpans(chars, spans, 0, chars.length))),
    ...(question.candidates.length
      ? [makeDetails(`${question.candidates.length} candidates`, () => makeCandidates(question))]
      : []),
  );
}

const foldedContexts = new Map();

function contextContains(number, query) {
  if (!foldedContexts.has(number)) {
    const { title, text } = data.contexts[number];
    foldedContexts.set(number, folded(`${title}\n${text}`));
  }
  return foldedContexts.get(number).includes(query);
}

// What is not in the context: predicted answers and most golds are.
function ownText(question) {
  const golds = question.golds.filter((gold) => typeof gold === "string");
  question.folded ??= folded([question.id, question.question, ...golds].join("\n"));
  return question.folded;
}

showList({
  items: data.questions,
  matches: (question, filter) =>
    filter === "all" || filter === question.outcome || filter === question.change?.effect,
  contains: (question, query) =>
    ownText(question).includes(query) || contextContains(question.context, query),
  compare: {
    lowest: (a, b) => (a.f1 ?? 2) - (b.f1 ?? 2),
    highest: (a, b) => (b.f1 ?? -1) - (a.f1 ?? -1),
  },
  render: makeQuestion,
});
