// What the theme and its extensions leave undone, for assistive technology, for narrow screens and for paper.
addEventListener("DOMContentLoaded", () => {
  // The sidebar, with the logo and the search field, is outside every landmark.
  const sidebar = document.querySelector(".bd-sidebar-primary");
  sidebar?.setAttribute("role", "complementary");
  sidebar?.setAttribute("aria-label", "The book");

  // What unfolds a part of its contents has a picture, and no name.
  for (const summary of document.querySelectorAll("nav details > summary"))
    summary.setAttribute("aria-label", `Pages of ${summary.closest("li").querySelector("a").textContent.trim()}`);

  // The bibliography's list has entries of a role that ARIA has withdrawn.
  for (const entry of document.querySelectorAll("[role=doc-biblioentry]")) entry.setAttribute("role", "listitem");

  // A line may end beside a formula, even between it and a mark that belongs to it.
  for (const formula of document.querySelectorAll("article span.math")) {
    const { previousSibling: before, nextSibling: after } = formula;
    const opening = before?.data?.match(/[([“‘]+$/)?.[0] ?? "", closing = after?.data?.match(/^[.,;:!?)\]’”]+/)?.[0] ?? "";
    if (!opening && !closing) continue;
    if (opening) before.data = before.data.slice(0, -opening.length);
    if (closing) after.data = after.data.slice(closing.length);
    const together = document.createElement("span");
    together.className = "kd-together";
    formula.replaceWith(together);
    together.append(opening, formula, closing);
  }

  // What is wider than its place is scrolled there, code by keyboard too, and fades where it goes on.
  const wide = "article pre, div.math > mjx-container, .kd-long";
  const fade = (part, more, past) => part.classList.toggle("kd-goes-on", past < more - 1);
  const hidden = (part) => part.scrollWidth - part.clientWidth;
  const long = (formula) => formula.offsetWidth > formula.closest("p, li, td, dd, div").clientWidth;
  const reach = () => {
    const inline = [...document.querySelectorAll("article span.math > mjx-container")];
    for (const formula of inline) formula.classList.remove("kd-long");
    for (const formula of inline.filter(long)) formula.classList.add("kd-long");
    const parts = [...document.querySelectorAll(wide)].map((part) => [part, hidden(part), part.scrollLeft]);
    for (const [part, more, past] of parts) {
      fade(part, more, past);
      if (part.localName === "pre") part.tabIndex = more > 0 ? 0 : -1;
    }
  };
  const scrolled = ({ target }) => target.matches?.(wide) && fade(target, hidden(target), target.scrollLeft);
  document.addEventListener("scroll", scrolled, true);
  let due;
  const soon = () => { // once, however many parts unfold together
    cancelAnimationFrame(due);
    due = requestAnimationFrame(reach);
  };
  document.addEventListener("toggle", soon, true);
  document.addEventListener("click", soon);
  addEventListener("resize", reach);
  addEventListener("load", () => {
    reach();
    globalThis.MathJax?.startup?.promise.then(reach);
  });
});

// Paper is white: a page that is dark is printed as a light one.
const paper = matchMedia("print");
paper.addEventListener("change", () => {
  const { dataset } = document.documentElement;
  if (paper.matches) dataset.screenTheme = dataset.theme;
  dataset.theme = paper.matches ? "light" : dataset.screenTheme;
});
