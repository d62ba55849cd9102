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

  // Cards are radio buttons that Gradio does not join into one group: arrows move between them here.
  const CARDS = "#picks, #version-list";
  const STEPS = { arrowdown: 1, arrowright: 1, arrowup: -1, arrowleft: -1 };
  const moveCard = (from, key) => {
    const list = from.closest?.(CARDS);
    const cards = list ? [...list.querySelectorAll("input[type=radio]")] : [];
    const next = cards[cards.indexOf(from) + STEPS[key]];
    if (!cards.includes(from)) return false;
    next?.focus();
    next?.click();
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
    if (key.startsWith("arrow") && moveCard(event.target, key)) {
      event.preventDefault();
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
  // Gradio saves a slider when the pointer lets go of it; what keys and screen readers set counts, too.
  document.addEventListener("change", ({ target }) => {
    if (target.matches?.("input[type=range]")) {
      target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
    }
  });

  // On a phone the list of chats would cover the chat: it starts closed and closes after a choice.
  const narrow = window.matchMedia("(max-width: 768px)");
  const closeSidebar = () => {
    if (narrow.matches) document.querySelector("#sidebar.open > button")?.click();
  };
  let opened = false;

  // What is said here comes with the page, in its language.
  let known = null;
  const words = () => {
    known ??= JSON.parse(byId("page-words")?.dataset.words ?? "null");
    return known ?? { names: {}, questions: [], ready: "" };
  };
  // Names for screen readers where Gradio's parts take no attributes.
  const name = () => {
    const { language, names } = words();
    if (language && document.documentElement.lang !== language) document.documentElement.lang = language;
    for (const [id, label] of Object.entries(names)) {
      const part = byId(id);
      if (!part || part.getAttribute("aria-label") === label) continue;
      if (id.startsWith("pane-")) part.setAttribute("role", "group");
      part.setAttribute("aria-label", label);
    }
    for (const id of ["note", "saved-lines", "problem", "deletion", "about-chat", "no-chats"]) {
      const part = byId(id);
      if (part && !part.hasAttribute("aria-live")) part.setAttribute("aria-live", "polite");
    }
    // In a teaching chat the box belongs to either side in turn; its heading says to which.
    const message = box();
    if (message) {
      const turn = document.querySelector("#teach-turn h3");
      message.dataset.usual ??= message.placeholder;
      const wanted = turn?.offsetParent ? turn.textContent : message.dataset.usual;
      if (message.placeholder !== wanted) message.placeholder = wanted;
    }
    // Two pairs of thumbs look alike to a screen reader unless they say whether they are pressed.
    for (const thumb of document.querySelectorAll("#transcript button[aria-label$=ike], #transcript button[aria-label$=iked]")) {
      const pressed = String(thumb.getAttribute("aria-label").endsWith("d"));
      if (thumb.getAttribute("aria-pressed") !== pressed) thumb.setAttribute("aria-pressed", pressed);
    }
  };

  // The editor of a message shows what was written, not how a "<" is told to Markdown.
  const plain = (shown) =>
    shown
      .split(/(```[^]*?(?:```|$)|~~~[^]*?(?:~~~|$)|`[^`\n]+`)/)
      .map((part, place) => (place % 2 ? part : part.replaceAll("&lt;", "<")))
      .join("");
  const showPlain = () => {
    for (const area of document.querySelectorAll("#transcript textarea:not([data-plain])")) {
      area.dataset.plain = "yes";
      if (plain(area.value) === area.value) continue;
      area.value = plain(area.value);
      area.dispatchEvent(new Event("input", { bubbles: true }));
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
    const ready = Boolean(title?.offsetParent) && words().questions.includes(title.textContent.trim());
    if (ready === asked) return;
    asked = ready;
    voice.textContent = ready ? words().ready : "";
    if (ready && !box()?.value && document.activeElement === document.body) {
      title.setAttribute("tabindex", "-1");
      title.focus({ preventScroll: true });
    }
  };

  // A message leaves the box as it is sent, so that the next can be written at once. One that is
  // sent while another is on its way waits for it, and goes into the chat that the other began. One
  // that could not be sent comes back, before whatever stands in the box by then.
  const outbox = [];  // taken from the box at the very key, where Gradio looks a little later
  const sent = new Map();  // number to text, of those that are not answered yet
  const waiting = [];
  let sends = 0;
  let turns = 0;  // how often this page turned to another chat
  let landed = "";  // the chat of the message that was answered last
  const fill = (text) => {
    box().value = text;
    box().dispatchEvent(new Event("input", { bubbles: true }));
  };
  const joined = (texts) => texts.filter((text) => text.trim()).join("\n\n");
  const unsent = () => joined([...sent.values(), ...outbox, box()?.value ?? ""]);
  const wake = () => {
    for (const go of waiting.splice(0)) go();
  };
  const giveBack = () => {
    if (!(sent.size || outbox.length) || !box()) return;
    fill(unsent());
    sent.clear();
    outbox.length = 0;
    wake();
  };
  const pick = () => {
    if (!box().value) return;
    outbox.push(box().value);
    fill("");
  };
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (event.target === box()) pick();
  }, { capture: true });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#send")) pick();
  }, { capture: true });
  const take = async (held, number, ...rest) => {
    const text = outbox.length ? outbox.shift() : held;
    if (!text) return ["", number, ...rest];
    const mine = (sends += 1);
    const turn = turns;
    let key = rest.pop();
    sent.set(mine, text);
    while (sent.has(mine) && Math.min(...sent.keys()) < mine) {
      await new Promise((go) => waiting.push(go));
      if (key === "" && turn === turns) key = landed;
    }
    return [sent.has(mine) ? text : "", String(mine), ...rest, key];
  };
  const answered = (answer) => {
    const [number, outcome, key] = (answer ?? "").split(" ");
    const text = sent.get(Number(number));
    sent.delete(Number(number));
    landed = key;
    if (text !== undefined && outcome === "refused") fill(joined([text, box().value]));
    wake();
  };
  const turned = () => {
    turns += 1;
    closeSidebar();
  };

  // News: a mark of what this page was drawn from is compared with what the server knows, out of
  // its memory. Nothing is asked while the page is out of sight. What a reply says while it is
  // written comes through Gradio's queue, which can lose it (docs/decisions/0014): where a reply is
  // under way and nothing has moved for a while, it is followed anew.
  const NEWS_MS = 1500;
  const STILL_LOOKS = 2;
  // What can be stopped, what is pressed to follow it, and the texts that grow: not what is around
  // them, where Gradio counts tenths of seconds, seen or not.
  const markdown = (...ids) => ids.map((id) => `#${id} [data-testid=markdown]`).join();
  const WRITTEN = [
    {
      stop: "stop",
      listen: "listen",
      texts: `#transcript [data-testid=bot], ${markdown("stage", "reply-1", "reply-2", "suggestion-text")}`,
    },
    { stop: "rank-stop", listen: "rank-listen", texts: markdown("rank-stage", "rank-answers") },
  ].map((one) => ({ ...one, grown: "", still: 0 }));
  const watchGrowth = () => {
    for (const one of WRITTEN) {
      const busy = byId(one.stop)?.offsetParent;
      const texts = busy ? [...document.querySelectorAll(one.texts)] : [];
      const now = texts.map((text) => text.textContent).join("\n");
      one.still = busy && now === one.grown ? one.still + 1 : 0;
      one.grown = now;
      if (one.still < STILL_LOOKS) continue;
      one.still = 0;
      byId(one.listen)?.click();
    }
  };
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
      const asked = new URLSearchParams({ seen, key: valueOf("conversation-key") });
      const answer = await fetch(`/changes?${asked}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      unheard = 0;
      offline(false);
      if (!seen || seen !== valueOf("seen")) return;
      if (news.server) {
        try { window.sessionStorage.setItem("twofold-draft", unsent()); } catch { /* lost */ }
        window.location.reload();
        return;
      }
      const busy = byId("stop")?.offsetParent;  // what is being written is followed already
      if (news.chat || (!busy && (news.list || news.status))) byId("sync")?.click();
      watchGrowth();
    } catch {
      unheard += 1;
      if (unheard > 1) {
        offline(true);
        giveBack();
      }
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
    fill(draft);
  };

  // A reply grows at the end of the page: whoever was at the end stays there. Two replies are read
  // from their title on: as soon as they are taller than the window, the page stays at the title.
  let atEnd = true;
  let atTitle = false;
  const follow = () => {
    const pair = byId("pair");
    const asks = Boolean(pair?.offsetParent);
    if (!asks) atTitle = false;
    if (!atEnd || atTitle || !byId("composer")?.offsetParent || distance() <= 0) return;
    const end = document.documentElement.scrollHeight - window.innerHeight;
    const title = asks ? pair.getBoundingClientRect().top + window.scrollY - 8 : end;
    atTitle = title < end;
    window.scrollTo({ top: Math.min(title, end) });
  };
  const distance = () =>
    document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
  window.addEventListener("scroll", () => { atEnd = distance() < 80; }, { passive: true });

  new MutationObserver(() => {
    name();
    showPlain();
    announce();
    restoreDraft();
    if (!opened && byId("sidebar")) {
      opened = true;
      closeSidebar();
    }
    follow();
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
    keysOn,
    openTab: (name) => byId(`${name}-tab-button`)?.click(),
    press,
    writing,
    turned,
    take,
    answered,
    giveBack,
  };
}
