// What moves by itself is drawn anew, and what folds in it falls shut: Gradio makes the part what the
// server said, which knows nothing of folds. What a person has unfolded is unfolded again; a fold is
// known by its place among those of its part.
() => {
  const PARTS = ["#charts", "#taste", "#lessons"];
  const FOLDS = PARTS.map((part) => `${part} details`).join(", ");
  const unfolded = new Set();

  const placeOf = (fold) => {
    const part = fold.closest(PARTS.join(", "));
    return part && `${part.id} ${[...part.querySelectorAll("details")].indexOf(fold)}`;
  };

  // Keys click, too. The fold is still as it was before.
  document.addEventListener("click", ({ target }) => {
    const fold = target.closest?.("summary")?.parentElement;
    const place = fold instanceof HTMLDetailsElement && placeOf(fold);
    if (place) unfolded[fold.open ? "delete" : "add"](place);
  }, true);

  new MutationObserver(() => {
    for (const fold of document.querySelectorAll(FOLDS)) {
      if (!fold.open && unfolded.has(placeOf(fold))) fold.open = true;
    }
  }).observe(document.body, { attributeFilter: ["open"], childList: true, subtree: true });
}
