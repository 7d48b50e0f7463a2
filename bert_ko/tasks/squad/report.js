
const data = readData("data");
const AROUND = 80; // characters of the context on both sides of an answer

const EFFECTS = { better: t("better"), worse: t("worse"), same: t("same") };

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
  if (answer === null) return make("em", {}, t("no prediction"));
  const text = typeof answer === "string" ? answer : textAt(question, answer);
  return text ? korean(text) : make("em", {}, t("no answer"));
}

function makeGolds(question) {
  if (!question.golds.length) {
    return [make("em", {}, question.outcome === "unscored" ? t("unknown") : t("no answer"))];
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
    make("dt", {}, t("Gold")), make("dd", {}, ...makeGolds(question)),
    make("dt", {}, t("Answer")), make("dd", {}, makeAnswer(question, question.answer)),
  ];
  if (question.change) {
    const { before, em, f1, effect } = question.change;
    const values = { em: em ? 1 : 0, f1: percent(f1), effect: EFFECTS[effect] };
    const score = t(" (EM {em}, F1 {f1}; stripping: {effect})", values);
    rows.push(make("dt", {}, t("Not stripped")), make("dd", {}, makeAnswer(question, before), score));
  }
  return make("dl", { class: "answers" }, ...rows);
}

function makeCandidates(question) {
  const names = [t("rank"), t("answer"), t("probability"), t("characters")];
  const head = names.map((name, i) =>
    make("th", { scope: "col", class: i === 2 ? "number" : "" }, name));
  const cell = (i, ...content) => make("td", { "data-header": names[i] }, ...content);
  const rows = question.candidates.map(([start, end, probability], i) =>
    make("tr", {},
      make("th", { scope: "row" }, String(i + 1)),
      cell(1, makeAnswer(question, [start, end])),
      cell(2, make("data", {}, probability === null ? "–" : `${percent(probability)} %`)),
      cell(3, end > start ? `${start}–${end}` : ""),
    ));
  const label = t("Candidates");
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
    makeDetails(t("Whole context"), () => context(markSpans(chars, spans, 0, chars.length))),
    ...(question.candidates.length
      ? [makeDetails(
        t("{count} candidates", { count: question.candidates.length }),
        () => makeCandidates(question),
      )]
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
