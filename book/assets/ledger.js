// The ledger's filter: which verdicts and which chapter are shown. Its state is in the page's address, as in
// #verdict=undecided&chapter=Chapter+3. Without scripts there is no filter, and all rows are there.
addEventListener("DOMContentLoaded", () => {
  const rows = [...document.querySelectorAll("tr[id^=claim-]")].map((row) => ({
    row,
    section: row.closest("section"),
    verdict: row.querySelector(".verdict")?.lastChild.textContent.trim() ?? "open",
    chapter: row.closest("section").querySelector("h2").firstChild.textContent.split(":")[0],
  }));
  if (!rows.length) return;
  const different = (name) => [...new Set(rows.map((each) => each[name]))];
  const verdicts = ["holds", "holds under a condition", "does not hold as stated", "undecided", "open"]
    .filter((verdict) => different("verdict").includes(verdict));

  const form = document.createElement("form");
  form.className = "ledger-filter";
  form.innerHTML = `<fieldset><legend>Show</legend>
    ${verdicts.map((verdict) => `<label><input type="checkbox" name="verdict" value="${verdict}"> ${verdict}</label>`).join("")}
    <label>of <select name="chapter"><option value="">all chapters</option>
    ${different("chapter").map((chapter) => `<option>${chapter}</option>`).join("")}</select></label>
    <button type="reset">all</button> <output></output></fieldset>`;
  rows[0].section.before(form);
  const boxes = [...form.querySelectorAll("[name=verdict]")];
  const { chapter } = form.elements;

  function filter() {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    let shown = 0;
    for (const each of rows) {
      const wanted = (!chosen.length || chosen.includes(each.verdict)) && ["", each.chapter].includes(chapter.value);
      each.row.hidden = !wanted;
      shown += wanted;
    }
    for (const section of different("section")) section.hidden = rows.every((each) => each.section !== section || each.row.hidden);
    form.querySelector("output").textContent = `${shown} of ${rows.length} claims`;
    return chosen;
  }

  function write() {
    const state = new URLSearchParams(filter().map((verdict) => ["verdict", verdict]));
    if (chapter.value) state.set("chapter", chapter.value);
    try {
      history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search);
    } catch { /* some browsers let no file write its address */ }
  }

  function read() {
    const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    for (const box of boxes) box.checked = state.getAll("verdict").includes(box.value);
    chapter.value = state.get("chapter") ?? "";
    if (chapter.selectedIndex < 0) chapter.value = "";
    filter();
    if (form.contains(document.activeElement) || !location.hash) return;
    if (location.hash.includes("=")) form.scrollIntoView();
    else document.getElementById(location.hash.slice(1))?.scrollIntoView(); // of a row that was hidden
  }

  form.addEventListener("change", write);
  form.addEventListener("reset", () => setTimeout(write));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  read();
});
