// Keys, the address and the scroll position: what Gradio has no word for. Elements are found by
// our own ids only, at the moment they are needed, since Gradio adds and removes them.
() => {
  const byId = (id) => document.getElementById(id);
  const box = () => document.querySelector("#message textarea");

  // A key does what its button does, and only while the button can be seen and pressed.
  const press = (id) => {
    const found = byId(id);
    const button = found && (found.tagName === "BUTTON" ? found : found.querySelector("button"));
    if (!button || button.disabled || !button.offsetParent) return false;
    button.click();
    return true;
  };
  const KEYS = {
    1: "choose-1",
    2: "choose-2",
    0: "choose-tie",
    9: "choose-both-bad",
    s: "choose-skip",
    u: "undo",
  };
  const writing = (target) =>
    target instanceof Element &&
    (target.closest("input:not([type=radio]), textarea, select") || target.isContentEditable);

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat) return;
    if (event.key === "Escape") {
      if (!press("stop") && writing(event.target)) event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    const wanted = event.altKey ? (key === "1" || key === "2") : !writing(event.target);
    if (wanted && KEYS[key] && press(KEYS[key])) event.preventDefault();
  });

  // On a phone the list of chats would cover the chat: it starts closed and closes after a choice.
  const narrow = window.matchMedia("(max-width: 768px)");
  const closeSidebar = () => {
    if (narrow.matches) document.querySelector("#sidebar.open > button")?.click();
  };
  let opened = false;

  // The two replies are named groups for screen readers; Gradio's columns take no attributes.
  const name = () => {
    for (const number of [1, 2]) {
      const pane = byId(`pane-${number}`);
      if (pane && !pane.hasAttribute("role")) {
        pane.setAttribute("role", "group");
        pane.setAttribute("aria-label", `Reply ${number}`);
      }
    }
    for (const id of ["pair-title", "note", "saved", "problem"]) {
      const line = byId(id);
      if (line && !line.hasAttribute("aria-live")) line.setAttribute("aria-live", "polite");
    }
  };

  // A reply grows at the end of the page: whoever was at the end stays there.
  let atEnd = true;
  const distance = () =>
    document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
  window.addEventListener("scroll", () => { atEnd = distance() < 80; }, { passive: true });

  new MutationObserver(() => {
    name();
    if (!opened && byId("sidebar")) {
      opened = true;
      closeSidebar();
    }
    if (atEnd && byId("composer")?.offsetParent && distance() > 0) {
      window.scrollTo({ top: document.documentElement.scrollHeight });
    }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });

  window.twofold = {
    showKey: (key) => {
      const url = new URL(window.location.href);
      if (key) url.searchParams.set("c", key);
      else url.searchParams.delete("c");
      window.history.replaceState(window.history.state, "", url);
    },
    focusBox: () => box()?.focus(),
    closeSidebar,
  };
}
