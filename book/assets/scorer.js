// How the search sorts what it has found: Sphinx's own weights, and more for a title with more of the words sought.
const sought = (new URLSearchParams(location.search).get("q") ?? "").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

globalThis.Scorer = {
  score: ([, title, , , score]) => score + 10 * (sought.filter((word) => title.toLowerCase().includes(word)).length - 1),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
