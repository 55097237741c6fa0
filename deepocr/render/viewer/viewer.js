// Ties a page's picture to its text: everything with the same data-region belongs together.
// Listens on the document, so pages that are added later work too.
(() => {
  "use strict";

  const SELECTED = "selected";

  function partsOf(name) {
    return [...document.querySelectorAll("[data-region]")].filter((part) => part.dataset.region === name);
  }

  function select(clicked) {
    for (const part of document.querySelectorAll("[data-region]." + SELECTED)) part.classList.remove(SELECTED);
    const pane = clicked.closest(".viewer-pictures, .viewer-texts");
    let shown = false;
    for (const part of partsOf(clicked.dataset.region)) {
      part.classList.add(SELECTED);
      // scroll the other side only: what was clicked stays where it is
      if (!shown && part.closest(".viewer-pictures, .viewer-texts") !== pane) {
        part.scrollIntoView({ block: "center", inline: "nearest" });
        shown = true;
      }
    }
  }

  function regionAt(event) {
    if (event.target.closest("a")) return null;
    return event.target.closest("[data-region]");
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-next-finding]")) return nextFinding();
    const region = regionAt(event);
    if (region) select(region);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    const region = regionAt(event);
    if (!region) return;
    event.preventDefault();
    select(region);
  });

  // from finding to finding, in the order of the text
  function nextFinding() {
    const findings = [...document.querySelectorAll(".finding-list [data-region]")];
    const last = findings.findIndex((finding) => finding.classList.contains(SELECTED));
    const finding = findings[(last + 1) % findings.length];
    finding.scrollIntoView({ block: "center" });
    select(finding);
  }

  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input.matches("[data-show-regions]")) {
      document.body.classList.toggle("no-regions", !input.checked);
    } else if (input.matches("[data-go-to-page]")) {
      for (const part of document.querySelectorAll("[data-page]")) {
        if (part.dataset.page === input.value) part.scrollIntoView({ block: "start" });
      }
    }
  });
})();
