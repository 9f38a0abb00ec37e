// What the theme and its extensions leave undone, for assistive technology and for paper.
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

  // Code that was folded when the theme looked for code that scrolls: let the keyboard scroll it.
  const reach = () => {
    for (const code of document.querySelectorAll("article pre"))
      code.tabIndex = code.scrollWidth > code.clientWidth ? 0 : -1;
  };
  document.addEventListener("toggle", reach, true);
  document.addEventListener("click", () => requestAnimationFrame(reach));
});

// Paper is white: a page that is dark is printed as a light one.
const paper = matchMedia("print");
paper.addEventListener("change", () => {
  const { dataset } = document.documentElement;
  if (paper.matches) dataset.screenTheme = dataset.theme;
  dataset.theme = paper.matches ? "light" : dataset.screenTheme;
});
