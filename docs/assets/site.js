// Names the search dialog, and lets the keyboard scroll wide tables: what the theme leaves out.
"use strict";
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const name = () => {
    for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      wide.tabIndex = 0;
    }
  };
  name();
  new MutationObserver(name).observe(document.querySelector("article"), { childList: true, subtree: true });
});
