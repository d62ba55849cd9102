// Keys, names, news, drafts, the address and the scroll position: what Gradio has no word for. Elements are
// found by our own ids, those of the transcript by role and place as well, at the moment they are needed,
// since Gradio adds and removes them.
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

  // Cards are radio buttons that Gradio does not join into one group: arrows move between them here,
  // and Tab stops at one of them. What takes the whole page elsewhere is opened by Enter only.
  const CARDS = "#picks, #version-list, #conversations, #rankings";
  const OPENED = "#conversations, #rankings";
  const STEPS = { arrowdown: 1, arrowright: 1, arrowup: -1, arrowleft: -1 };
  const cardsOf = (list) => [...(list?.querySelectorAll("input[type=radio]") ?? [])];
  const moveCard = (from, key) => {
    const list = from.closest?.(CARDS);
    const cards = cardsOf(list);
    const next = cards[cards.indexOf(from) + STEPS[key]];
    if (!cards.includes(from)) return false;
    next?.focus();
    if (!list.matches(OPENED)) next?.click();
    return true;
  };
  const openCard = (card) => {
    if (!card.matches?.("input[type=radio]") || !card.closest(OPENED)) return false;
    card.click();
    return true;
  };
  const rove = () => {
    for (const list of document.querySelectorAll(CARDS)) {
      const cards = cardsOf(list);
      const at = document.activeElement;
      const stop = cards.includes(at) ? at : cards.find((card) => card.checked) ?? cards[0];
      for (const card of cards) {
        const wanted = card === stop ? 0 : -1;
        if (card.tabIndex !== wanted) card.tabIndex = wanted;
      }
    }
  };

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat) return;
    const key = event.key.toLowerCase();
    if (key === "tab") rove();
    if (key === "escape") {
      if (byId("keys-dialog")?.open) return;  // the browser closes it
      if (press("stop")) return;
      if (writing(event.target) || event.target.closest?.("#editor")) event.target.blur();
      else press("cancel-better") || press("keep-chat") || press("keep-name");
      return;
    }
    if (event.ctrlKey || event.metaKey) {
      // "/" needs Shift on many keyboards, and is the same key there.
      const shift = event.shiftKey && /^[a-z]$/.test(key) ? "shift+" : "";
      const chord = CHORDS[`ctrl+${shift}${key}`];
      if (chord && keysOn() && chord()) event.preventDefault();
      return;
    }
    if (key.startsWith("arrow") && !event.altKey && moveCard(event.target, key)) {
      event.preventDefault();
      return;
    }
    if (key === "enter" && openCard(event.target)) {
      event.stopImmediatePropagation();  // on the Rank tab Enter saves
      return;
    }
    if (!keysOn() || byId("keys-dialog")?.open) return;
    // With Alt a Mac types another sign: the key is known by its place.
    const digit = /^(?:Digit|Numpad)([12])$/.exec(event.code)?.[1];
    const meant = event.altKey ? digit : key;
    const wanted = event.altKey ? Boolean(digit) : !writing(event.target);
    // An arrow belongs to whatever list of choices it moves in.
    if (key.startsWith("arrow") && event.target.closest?.("[role=tab], input, [role=radiogroup]")) return;
    const buttons = [TEACHING_KEYS[meant], KEYS[meant]].filter(Boolean);
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
    for (const row of rows()) {
      const buttons = row.querySelector("[data-testid=bot]") ? buttonsOf(row) : [];
      for (const thumb of buttons.length > 3 ? buttons.slice(-2) : []) {
        const pressed = String(thumb.style.color.includes("accent"));
        if (thumb.getAttribute("aria-pressed") !== pressed) thumb.setAttribute("aria-pressed", pressed);
      }
    }
  };

  // Gradio's buttons speak the browser's language and not the page's: a message and its buttons are
  // found by where they stand. A reply ends with its two thumbs, a message that is edited has two
  // buttons, and the second one leaves it as it was.
  const rows = () =>
    [...document.querySelectorAll("#transcript [role=log] > div > *")].filter((row) =>
      row.querySelector("textarea, [data-testid=user], [data-testid=bot]"),
    );
  const buttonsOf = (row) => [...(row.nextElementSibling?.querySelectorAll("button") ?? [])];

  // The editor of a message and the clipboard get what was written, not how a "<" is told to
  // Markdown. What is code there is code here (markup.py).
  const CODE = /```[^]*?(?:```|$)|~~~[^]*?(?:~~~|$)|`[^`\n]+`|\n *\n {4}[^\n]*(?:(?:\n *)*\n {4}[^\n]*)*/g;
  const inList = (text, before) => {
    let listed = before;
    for (const block of text.split(/\n *\n/)) {
      if (/^ *(?:[-+*]|\d+[.)])(?: |$)/m.test(block)) listed = true;
      else if (/^\n*[^ \n]/.test(block)) listed = false;
    }
    return listed;
  };
  const plain = (shown) => {
    const parts = [];
    let [done, seen, listed] = [0, 0, false];
    CODE.lastIndex = 0;
    for (let found = CODE.exec(shown); found; found = CODE.exec(shown)) {
      if (found[0].startsWith("\n")) {
        [listed, seen] = [inList(shown.slice(seen, found.index), listed), found.index];
        if (listed) {
          CODE.lastIndex = found.index + 1;
          continue;
        }
      }
      parts.push(shown.slice(done, found.index).replaceAll("&lt;", "<"), found[0]);
      done = CODE.lastIndex;
    }
    return [...parts, shown.slice(done).replaceAll("&lt;", "<")].join("");
  };
  let copying = false;  // while a button beside a message is pressed, and no button in it
  document.addEventListener("click", ({ target }) => {
    if (!target.closest?.("#transcript button") || target.closest("[data-testid]")) return;
    copying = true;
    window.setTimeout(() => { copying = false; });
  }, { capture: true });
  if (navigator.clipboard) {
    const write = navigator.clipboard.writeText.bind(navigator.clipboard);
    navigator.clipboard.writeText = (text) => write(copying ? plain(text) : text);
  }
  document.addEventListener("copy", (event) => {  // where there is no such clipboard
    if (!copying) return;
    event.clipboardData.setData("text/plain", plain(event.target.value));
    event.preventDefault();
  });

  // A message is edited where it stands. Gradio keeps what is typed at that place of the transcript,
  // whatever is shown there next: so it is known here where it was begun, and what is no longer
  // shown is closed. What was typed comes back with the pencil of the same message.
  const edits = new Map();  // what was typed and not sent, by chat and turn
  let edit = null;
  let pencil = false;
  const editedRow = () =>
    document.querySelector("#transcript textarea") && rows().find((row) => row.querySelector("textarea"));
  const placeOf = (row) => {
    const turns = JSON.parse(valueOf("shown-turns") || "[]");
    return { key: valueOf("conversation-key"), turn: turns[rows().indexOf(row)] ?? null };
  };
  // A reply that is still written has no turn yet.
  const isAt = (one, here) => one.key === here.key && (one.turn ?? here.turn) === here.turn;
  const nameOf = ({ key, turn }) => `${key} ${turn}`;
  const write = (area, text) => {
    area.value = text;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  };
  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("#transcript button");
    const row = button && rows().find((one) => buttonsOf(one).includes(button));
    if (!row) return;
    if (!row.querySelector("textarea")) {
      pencil = true;
      window.setTimeout(() => { pencil = false; }, 500);
    } else if (edit && buttonsOf(row)[1] === button) {
      edits.delete(nameOf(edit));
    }
  }, { capture: true });
  const closeEdit = () => {
    const row = editedRow();
    if (!row || !edit) return;
    if (edit.area.value !== edit.from) edits.set(nameOf(edit), edit.area.value);
    const typed = edits.get(nameOf(edit));
    buttonsOf(row)[1]?.click();
    if (typed !== undefined) edits.set(nameOf(edit), typed);
  };
  const watchEdit = () => {
    const row = editedRow();
    if (!row) return;
    const area = row.querySelector("textarea");
    const here = placeOf(row);
    if (edit && (area === edit.area || !pencil)) {
      if (isAt(edit, here)) edit = { ...edit, ...here, area };
      else closeEdit();
      return;
    }
    edit = { ...here, area, from: plain(area.value) };
    const text = edits.get(nameOf(edit)) ?? edit.from;
    if (text !== area.value) write(area, text);
  };
  // What is sent with an edit: where it was begun.
  const editBegun = (turns, key) => {
    if (!edit) return [turns, key, ""];
    const { key: begun, turn } = edit;
    if (begun === key && JSON.parse(turns || "[]").includes(turn)) edits.delete(nameOf(edit));
    else edits.set(nameOf(edit), edit.area.value);
    return [turns, key, JSON.stringify({ key: begun, turn })];
  };

  // A better reply that is being written stays with its question, for as long as this tab does: the
  // editor opens with it again, wherever the person has been meanwhile. Where the question was
  // answered otherwise, it comes back with the pencil of the reply that stands there now.
  const BETTER = "twofold-better";
  const stored = () => {
    try { return JSON.parse(window.sessionStorage.getItem(BETTER) ?? "{}"); } catch { return {}; }
  };
  const better = stored();  // what was typed in which chat, after which turns, by the question's token
  const keepBetter = (token, typed) => {
    if (typed) better[token] = typed;
    else delete better[token];
    try { window.sessionStorage.setItem(BETTER, JSON.stringify(better)); } catch { /* this page only */ }
  };
  const questionHere = () => ({
    token: valueOf("question-token"),
    key: valueOf("conversation-key"),
    turns: JSON.parse(valueOf("shown-turns") || "[]"),
  });
  const editor = () => document.querySelector("#better-text textarea");
  let answering = "";  // the question that this page is answering itself
  let reopened = "";  // the one whose editor was opened by itself
  let quiet = false;  // then the focus stays where it is
  document.addEventListener("input", ({ target }) => {
    const { token, key, turns } = questionHere();
    if (target !== editor() || !token) return;
    answering = "";
    keepBetter(token, { text: target.value, key, turns });
  });
  document.addEventListener("click", ({ target }) => {
    const id = target.closest?.("button")?.id ?? "";
    if (id === "cancel-better") keepBetter(valueOf("question-token"), null);
    if (id === "save-better" || id.startsWith("choose-")) answering = valueOf("question-token");
  }, { capture: true });
  const watchEditor = () => {
    const { token, key, turns } = questionHere();
    for (const [one, typed] of Object.entries(better)) {
      if (one === token || typed.key !== key) continue;
      const reply = turns[typed.turns.length];
      if (!reply || typed.turns.some((turn, at) => turn !== turns[at])) continue;
      if (one !== answering) edits.set(nameOf({ key, turn: reply }), typed.text);
      keepBetter(one, null);
    }
    if (editor()?.offsetParent || !(token in better)) reopened = "";
    else if (reopened !== token && press("write")) {
      reopened = token;
      quiet = true;
    }
  };
  // The editor is there: with what was typed before, and with the focus where a person opened it.
  const openEditor = (tries = 20) => {
    if (!editor()?.offsetParent) {
      if (tries > 0) window.setTimeout(() => openEditor(tries - 1), 50);
      return;
    }
    const text = better[valueOf("question-token")]?.text ?? editor().value;
    if (text !== editor().value) write(editor(), text);
    if (!quiet) editor().focus();
    quiet = false;
  };
  const answerRefused = () => {
    if (answering === valueOf("question-token")) answering = "";
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
  const turned = (key) => {
    turns += 1;
    openKey = key;
    closeEdit();
    enter(key);
    atEnd = true;  // a chat is opened at its end, wherever the one before was read
    atTitle = false;
    closeSidebar();
  };

  // The address names the chat, and the way back leads to the one before. A chat that just began, or
  // is gone, takes the place of what the address said.
  window.history.scrollRestoration = "manual";
  const addressOf = (key) => {
    const url = new URL(window.location.href);
    if (key) url.searchParams.set("c", key);
    else url.searchParams.delete("c");
    return url;
  };
  const enter = (key) => {
    const url = addressOf(key);
    if (url.href !== window.location.href) window.history.pushState(window.history.state, "", url);
  };
  const addressKey = () => new URLSearchParams(window.location.search).get("c") ?? "";
  let openKey = addressKey();  // the chat that this page shows or is about to; none where temporary
  window.addEventListener("popstate", () => {
    if (addressKey() !== openKey) byId("turn-back")?.click();
  });
  const turn = (key, chat) => {
    turned(chat);
    return [key, chat];
  };
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#reuse-instructions")) enter("");
  });

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
    watchEdit();
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
        keepDraft(unsent());
        kept = true;
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
  // What is half-written stays in the session of this tab, reloaded or opened again. The message that
  // is on its way is not: the server has it.
  const keepDraft = (text) => {
    if (kept) return;
    try {
      if (text) window.sessionStorage.setItem("twofold-draft", text);
      else window.sessionStorage.removeItem("twofold-draft");
    } catch { /* lost */ }
  };
  let kept = false;
  window.addEventListener("pagehide", () => {
    if (box()) keepDraft(joined([...[...sent.values()].slice(1), ...outbox, box().value]));
  });
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
    watchEdit();
    watchEditor();
    rove();
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
      openKey = key;
      window.history.replaceState(window.history.state, "", addressOf(key));
    },
    focusBox: () => box()?.focus(),
    focus,
    keysOn,
    openTab: (name) => byId(`${name}-tab-button`)?.click(),
    press,
    writing,
    turned,
    turn,
    turnBack: (key) => turn(key, addressKey()),
    editBegun,
    openEditor,
    answerRefused,
    take,
    answered,
    giveBack,
  };
}
