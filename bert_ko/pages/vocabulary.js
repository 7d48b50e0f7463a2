
// Says which syllable of the map is pointed at.
const { syllables } = readData("data");
const SIZE = [28, 21]; // final consonants, vowels
const STATES = [
  t("{syllable} has no piece"),
  t("{syllable} has a piece at the start of a word or inside one alone"),
  t("{syllable} has pieces at the start of a word and inside one"),
];

for (const map of document.querySelectorAll(".maps svg")) {
  map.addEventListener("pointermove", (event) => {
    const box = map.getBoundingClientRect();
    const places = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [column, row] = places.map((place, i) =>
      Math.min(SIZE[i] - 1, Math.max(0, Math.floor(place * SIZE[i]))));
    const number = (Number(map.dataset.part) * SIZE[1] + row) * SIZE[0] + column;
    const syllable = String.fromCodePoint(0xac00 + number);
    document.getElementById("pointed").textContent = t(STATES[syllables[number]], { syllable });
  });
}
