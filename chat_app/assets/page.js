// Keys, names, news, the address and the scroll position: what Gradio has no word for. Elements are found by
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
    e: "write",
    s: "choose-skip",
    u: "undo",
    arrowleft: "reply-before",
    arrowright: "reply-after",
  };
  // In a teaching chat, which never asks.
  const TEACHING_KEYS = { 1: "teach-use", 2: "teach-another", u: "teach-undo" };
  const CHORDS = {
    "ctrl+shift+o": () => press("new-chat"),
    "ctrl+k": () => focus("search"),
    "ctrl+/": () => toggleKeys(),
  };
  const writing = (target) =>
    target instanceof Element &&
    (target.closest("input:not([type=radio]), textarea, select") || target.isContentEditable);

  const remembered = (name) => {
    try { return window.localStorage.getItem(name); } catch { return null; }
  };
  const remember = (name, value) => {
    try { window.localStorage.setItem(name, value); } catch { /* then for this page only */ }
  };
  const keysOn = () => remembered("twofold-keys") !== "off";
  const toggleKeys = () => {
    const dialog = byId("keys-dialog");
    if (!dialog) return false;
    if (dialog.open) {
      dialog.close();
      return true;
    }
    const on = dialog.querySelector("input");
    on.checked = keysOn();
    on.onchange = () => remember("twofold-keys", on.checked ? "on" : "off");
    dialog.querySelector("button").onclick = () => dialog.close();
    dialog.showModal();
    return true;
  };
  // What is to get the focus may only be about to appear.
  const focus = (id, tries = 20) => {
    const found = byId(id);
    const target = found?.querySelector("textarea, input") ?? found?.querySelector("button") ?? found;
    if (target?.offsetParent) {
      target.focus();
      return true;
    }
    if (id === "search" && tries === 20) {
      document.querySelector("#sidebar:not(.open) > button")?.click();
    }
    if (tries > 0) window.setTimeout(() => focus(id, tries - 1), 50);
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat) return;
    const key = event.key.toLowerCase();
    if (key === "escape") {
      if (byId("keys-dialog")?.open) return;  // the browser closes it
      if (press("stop")) return;
      if (press("cancel-better") || press("keep-chat") || press("keep-name")) return;
      if (writing(event.target)) event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey) {
      const chord = CHORDS[`ctrl+${event.shiftKey ? "shift+" : ""}${key}`];
      if (chord && keysOn() && chord()) event.preventDefault();
      return;
    }
    if (!keysOn() || byId("keys-dialog")?.open) return;
    const wanted = event.altKey ? (key === "1" || key === "2") : !writing(event.target);
    // An arrow belongs to whatever list of choices it moves in.
    if (key.startsWith("arrow") && event.target.closest?.("[role=tab], input, [role=radiogroup]")) return;
    const buttons = [TEACHING_KEYS[key], KEYS[key]].filter(Boolean);
    if (wanted && buttons.some(press)) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#open-keys")) toggleKeys();
  });

  // On a phone the list of chats would cover the chat: it starts closed and closes after a choice.
  const narrow = window.matchMedia("(max-width: 768px)");
  const closeSidebar = () => {
    if (narrow.matches) document.querySelector("#sidebar.open > button")?.click();
  };
  let opened = false;

  // Names for screen readers where Gradio's parts take no attributes.
  const NAMES = {
    "reply-before": "Previous reply",
    "reply-after": "Next reply",
    "branch-before": "Previous branch",
    "branch-after": "Next branch",
  };
  const name = () => {
    for (const number of [1, 2]) {
      const pane = byId(`pane-${number}`);
      if (pane && !pane.hasAttribute("role")) {
        pane.setAttribute("role", "group");
        pane.setAttribute("aria-label", `Reply ${number}`);
      }
    }
    for (const id of ["note", "saved-lines", "problem", "deletion", "about-chat", "no-chats"]) {
      const part = byId(id);
      if (part && !part.hasAttribute("aria-live")) part.setAttribute("aria-live", "polite");
    }
    for (const [id, label] of Object.entries(NAMES)) {
      const part = byId(id);
      if (part && part.getAttribute("aria-label") !== label) part.setAttribute("aria-label", label);
    }
    // In a teaching chat the box belongs to either side in turn; its heading says to which.
    const message = box();
    if (message) {
      const turn = document.querySelector("#teach-turn h3");
      message.dataset.plain ??= message.placeholder;
      const wanted = turn?.offsetParent ? turn.textContent : message.dataset.plain;
      if (message.placeholder !== wanted) message.placeholder = wanted;
    }
    // Two pairs of thumbs look alike to a screen reader unless they say whether they are pressed.
    for (const thumb of document.querySelectorAll("#transcript button[aria-label$=ike], #transcript button[aria-label$=iked]")) {
      const pressed = String(thumb.getAttribute("aria-label").endsWith("d"));
      if (thumb.getAttribute("aria-pressed") !== pressed) thumb.setAttribute("aria-pressed", pressed);
    }
  };

  // One line, never seen, that says once when a pair can be answered; the panes say nothing while
  // they grow. Focus moves to the question only if nobody is in the middle of something.
  const voice = document.createElement("div");
  voice.id = "voice";
  voice.setAttribute("aria-live", "polite");
  document.body.append(voice);
  let asked = false;
  const announce = () => {
    const title = document.querySelector("#pair-title h2");
    const ready = Boolean(title?.offsetParent) && title.textContent.startsWith("Which");
    if (ready === asked) return;
    asked = ready;
    voice.textContent = ready ? byId("ready-words")?.dataset.words ?? "" : "";
    if (ready && !box()?.value && document.activeElement === document.body) {
      title.setAttribute("tabindex", "-1");
      title.focus({ preventScroll: true });
    }
  };

  // News: a mark of what this page was drawn from is compared with what the server knows, out of
  // its memory. Nothing is asked while the page is out of sight.
  const NEWS_MS = 1500;
  const valueOf = (id) => byId(id)?.querySelector("textarea, input")?.value ?? "";
  const offline = (is) => {
    const banner = byId("offline");
    if (banner && banner.hidden === is) banner.hidden = !is;
  };
  let unheard = 0;
  const look = async () => {
    if (document.hidden) return;
    try {
      const seen = valueOf("seen");
      const answer = await fetch(`/changes?seen=${encodeURIComponent(seen)}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      unheard = 0;
      offline(false);
      if (!seen || seen !== valueOf("seen")) return;
      if (news.server) {
        try { window.sessionStorage.setItem("twofold-draft", box()?.value ?? ""); } catch { /* lost */ }
        window.location.reload();
        return;
      }
      const busy = byId("stop")?.offsetParent;  // what is being written is followed already
      if (!busy && (news.chat || news.list || news.status)) byId("sync")?.click();
    } catch {
      unheard += 1;
      if (unheard > 1) offline(true);
    }
  };
  window.setInterval(look, NEWS_MS);
  document.addEventListener("visibilitychange", look);
  let restored = false;
  const restoreDraft = () => {
    if (restored || !box()) return;
    restored = true;
    let draft = null;
    try {
      draft = window.sessionStorage.getItem("twofold-draft");
      window.sessionStorage.removeItem("twofold-draft");
    } catch { return; }
    if (!draft) return;
    box().value = draft;
    box().dispatchEvent(new Event("input", { bubbles: true }));
  };

  // A reply grows at the end of the page: whoever was at the end stays there.
  let atEnd = true;
  const distance = () =>
    document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
  window.addEventListener("scroll", () => { atEnd = distance() < 80; }, { passive: true });

  new MutationObserver(() => {
    name();
    announce();
    restoreDraft();
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
    focus,
    closeSidebar,
    keysOn,
    openTab: (name) => byId(`${name}-tab-button`)?.click(),
    press,
    writing,
  };
}
