
// The page to try models. What the server says becomes text nodes, never markup.

const { models, limits } = readData("data");
const MASK = "[MASK]";
const CANDIDATES = 5;
const POLL = 1000; // milliseconds between two looks whether the models are ready

const WORDS = {
  en: {
    model: "Model", ask: "Ask", example: "Example", docs: "For programs: the API",
    context: "Text that has the answers", questions: "Questions, one per line",
    text: "Text", second: "Second text, only for models of pairs",
    masked: "Text with [MASK]", asking: "Computing …", starting: "Models are being compiled …",
    characters: " characters", noAnswer: "no answer", noEntities: "No entities were found.",
    score: "Score", candidates: "Candidates", noMask: "Put [MASK] where a word is missing.",
    unreachable: "The server can't be reached.", 400: "The request was not understood.",
    408: "The request took too long to arrive.", 413: "This is too long.",
    422: "This can't be computed.", 500: "The model failed.",
    503: "The server is busy; try again in a moment.", 504: "The answer took too long.",
  },
  ko: {
    model: "모델", ask: "실행", example: "예시", docs: "프로그램에서 쓰기(API)",
    context: "답을 찾을 글", questions: "질문 (한 줄에 하나씩)",
    text: "문장", second: "둘째 문장 (문장 쌍 모델만)",
    masked: "[MASK]가 들어간 문장", asking: "계산하는 중…", starting: "모델을 준비하는 중…",
    characters: "자", noAnswer: "답 없음", noEntities: "개체명을 찾지 못했습니다.",
    score: "점수", candidates: "후보", noMask: "단어를 가린 자리에 [MASK]를 넣어 주세요.",
    unreachable: "서버에 연결할 수 없습니다.", 400: "요청을 이해하지 못했습니다.",
    408: "요청이 제때 도착하지 않았습니다.", 413: "글이 너무 깁니다.",
    422: "계산할 수 없는 입력입니다.", 500: "모델에 오류가 났습니다.",
    503: "서버가 바쁩니다. 잠시 뒤 다시 시도해 주세요.", 504: "답을 구하는 데 너무 오래 걸렸습니다.",
  },
};
const [form, choice, first, second, mask, count, status, results, ask] = [
  "form", "model", "first", "second", "mask", "count", "status", "results", "ask",
].map((id) => document.getElementById(id));
const label = (id) => document.getElementById(`${id}-label`);
let language = "en";
let last = null; // what was answered: shown again in another language

const say = (key) => WORDS[language][key];
const chosen = () => models.find((model) => model.name === choice.value);

// How a kind of model is asked, and how its results are shown.
const KINDS = {
  reader: {
    first: "context", second: "questions",
    body: () => ({ context: first.value, questions: lines(second.value), top_k: CANDIDATES }),
    texts: () => lines(second.value).map((question) => first.value + question),
    show: showAnswers,
  },
  classifier: {
    first: "text", second: "second",
    body: () => ({ texts: [second.value.trim() ? [first.value, second.value] : first.value] }),
    texts: () => [first.value, second.value],
    show: showClass,
  },
  tagger: {
    first: "text", second: null,
    body: () => ({ texts: [first.value] }),
    texts: () => [first.value],
    show: showEntities,
  },
  masked_lm: {
    first: "masked", second: null,
    body: () => ({ texts: [first.value], top_k: CANDIDATES }),
    texts: () => [first.value],
    show: showMasks,
  },
};

function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

function showText(text, spans) {
  const chars = characters(text);
  return make("p", { class: "text", lang: "ko" }, markSpans(chars, spans, 0, chars.length));
}

// Texts with their probabilities; of candidates the first one is the best.
function makeList(kind, rows) {
  return make("ul", { class: `list ${kind}` }, ...rows.map(([text, probability]) =>
    make("li", {},
      korean(text), make("meter", { value: probability, "aria-hidden": "true" }),
      make("span", {}, `${percent(probability)} %`))));
}

// An answer and its number stand in the text; below it, each question with its candidates.
function showAnswers(asked, found) {
  const spans = found.flatMap((answer, i) =>
    answer.text ? [[answer.start, answer.end, "answer", String(i + 1)]] : []);
  return [
    showText(asked.context, spans),
    make("ol", { class: "items" }, ...found.map((answer, i) => {
      const rows = answer.candidates.map((one) => [one.text || say("noAnswer"), one.probability]);
      return make("li", {},
        make("p", { class: "about" }, `${i + 1}. `, korean(asked.questions[i])),
        make("h3", {}, korean(answer.text || say("noAnswer"))),
        make("details", {}, make("summary", {}, say("candidates")), makeList("candidates", rows)));
    })),
  ];
}

function showClass(asked, [found]) {
  const [text] = asked.texts;
  const shown = typeof text === "string" ? text : text.join("\n");
  const length = characters(shown).length;
  if ("score" in found) {
    return [showText(shown, []), make("p", { class: "figure" }, found.score.toFixed(3))];
  }
  const ranked = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]);
  return [showText(shown, [[0, length, "answer", found.label]]), makeList("candidates", ranked)];
}

function showEntities(asked, [{ entities }]) {
  const spans = entities.map((one) => [one.start, one.end, "answer", one.label]);
  const rows = entities.map((one) => [`${one.text} (${one.label})`, one.probability]);
  const list = rows.length ? makeList("entities", rows) : make("p", {}, say("noEntities"));
  return [showText(asked.texts[0], spans), list];
}

// The best token stands in the place of each mask, with its number if there are several.
function showMasks(asked, [{ masks }]) {
  const chars = characters(asked.texts[0]);
  const filled = [];
  const spans = [];
  let done = 0;
  const isOne = masks.length === 1;
  for (const [i, { start, candidates: [best] }] of masks.entries()) {
    filled.push(...chars.slice(done, start));
    const token = characters(best.piece.replace(/^##/, ""));
    spans.push([filled.length, filled.length + token.length, "answer", isOne ? "" : String(i + 1)]);
    filled.push(...token);
    done = start + MASK.length;
  }
  filled.push(...chars.slice(done));
  return [
    showText(filled.join(""), spans),
    ...masks.flatMap((one, i) => [
      ...(isOne ? [] : [make("p", { class: "about" }, `${i + 1}.`)]),
      makeList("candidates", one.candidates.map((c) => [c.piece, c.probability])),
    ]),
  ];
}

function showError(code, detail) {
  status.className = "error";
  const more = detail ? [make("small", { lang: "en" }, detail)] : [];
  status.replaceChildren(say(code) ?? say(500), ...more);
}

function draw() {
  if (last) results.replaceChildren(...KINDS[last.kind].show(last.asked, last.found));
  else results.replaceChildren();
}

function drawForm() {
  const kind = KINDS[chosen().kind];
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) {
    node.textContent = say(node.dataset.text);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", button.dataset.language === language);
  }
  document.getElementById("first-name").textContent = say(kind.first);
  document.getElementById("second-name").textContent = kind.second ? say(kind.second) : "";
  label("second").hidden = !kind.second;
  second.required = chosen().kind === "reader";
  mask.hidden = chosen().kind !== "masked_lm";
  label("first").parentNode.querySelector("#choice").hidden = models.length < 2;
  drawCount();
}

function drawCount() {
  const length = KINDS[chosen().kind].texts().reduce((sum, text) => sum + characters(text).length, 0);
  const [here, most] = [length, limits.characters].map((n) => n.toLocaleString(language));
  count.textContent = `${here} / ${most}${say("characters")}`;
  count.classList.toggle("error", length > limits.characters);
}

async function submit() {
  const { name, kind, path } = chosen();
  const asked = KINDS[kind].body();
  last = null;
  draw();
  if (kind === "masked_lm" && !first.value.includes(MASK)) return showError("noMask");
  ask.disabled = true;
  status.className = "";
  status.textContent = say("asking");
  try {
    const response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked),
    });
    const answer = await response.json();
    if (!response.ok) return showError(response.status, answer.error);
    status.textContent = "";
    if (chosen().name === name) last = { kind, asked, found: answer.results };
    draw();
  } catch {
    showError("unreachable");
  } finally {
    ask.disabled = false;
  }
}

// Until the models are ready.
async function wait() {
  try {
    const response = await fetch("/health");
    const { status: state } = await response.json();
    if (state === "ready") status.textContent = "";
    else {
      status.textContent = say("starting");
      setTimeout(wait, POLL);
    }
  } catch {
    showError("unreachable");
  }
}

function stored() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null; // forbidden by the browser
  }
}

function setLanguage(name) {
  language = name in WORDS ? name : "en";
  drawForm();
  draw();
}

function choose() {
  last = null;
  status.textContent = "";
  first.value = second.value = "";
  drawForm();
  draw();
}

for (const { name } of models) choice.append(make("option", { value: name }, name));
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    setLanguage(button.dataset.language);
    try {
      localStorage.setItem("language", language);
    } catch {
      // It is asked again the next time.
    }
  });
}
document.getElementById("example").addEventListener("click", () => {
  const { context, questions, texts } = chosen().example;
  [first.value, second.value] = questions ? [context, questions.join("\n")] : [texts[0], ""];
  drawCount();
});
mask.addEventListener("click", () => {
  first.setRangeText(MASK, first.selectionStart, first.selectionEnd, "end");
  first.focus();
  drawCount();
});
choice.addEventListener("change", choose);
form.addEventListener("input", drawCount);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
const preferred = navigator.languages.map((name) => name.slice(0, 2)).find((name) => name in WORDS);
setLanguage(stored() ?? preferred ?? "en");
form.hidden = false;
wait();
