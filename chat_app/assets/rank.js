// The order of the Rank tab, built in the browser: groups of answers, best first, tied ones together.
// The server draws the answers and keeps what is saved; here is only what is not saved yet. It lives
// in the session's storage too, so that a reload loses nothing. Texts go in by textContent only.
() => {
  const STORE = "twofold-rank";
  const byId = (id) => document.getElementById(id);
  const desk = () => document.querySelector("#rank-desk .desk");
  const state = { token: "", n: 0, current: "overall", overall: [], own: {} };
  // What is said here comes with the desk, in the language of the page.
  const say = (name, values = {}) =>
    Object.entries(values).reduce(
      (said, [place, value]) => said.replace(`{${place}}`, value),
      JSON.parse(desk()?.dataset.words ?? "{}")[name] ?? "",
    );

  // --- The order ---------------------------------------------------------------------------------

  const groups = () => state.own[state.current] ?? state.overall;
  const follows = () => state.current !== "overall" && !state.own[state.current];
  const change = (next) => {
    const kept = next.filter((group) => group.length);
    if (state.current === "overall") state.overall = kept;
    else state.own[state.current] = kept;
    draw();
    remember();
  };
  const copy = () => groups().map((group) => [...group]);
  const without = (place) => copy().map((group) => group.filter((one) => one !== place));
  const left = () => {
    const placed = groups().flat();
    return Array.from({ length: state.n }, (_, i) => i + 1).filter((one) => !placed.includes(one));
  };

  const take = (place) => {
    if (place < 1 || place > state.n) return false;
    if (follows()) change([[place]]);  // the first word of an order of its own
    else if (left().includes(place)) change([...copy(), [place]]);
    else focusOn(place);
    return true;
  };
  const tie = () => {
    const next = copy();
    if (next.length < 2) return;
    const last = next.pop();
    next[next.length - 1].push(...last);
    change(next);
  };
  const back = () => {
    const next = copy();
    if (!next.length) return;
    next[next.length - 1].pop();
    change(next);
  };
  const rest = () => { if (left().length) change([...copy(), left()]); };
  // One step is into a tie with the neighbour, the next one past it.
  const move = (place, by) => {
    const next = copy();
    const at = next.findIndex((group) => group.includes(place));
    if (at < 0) return;
    if (next[at].length > 1) {
      next[at] = next[at].filter((one) => one !== place);
      next.splice(by < 0 ? at : at + 1, 0, [place]);
    } else {
      const to = at + by;
      if (to < 0 || to >= next.length) return;
      next[to].push(place);
      next.splice(at, 1);
    }
    change(next);
    focusOn(place);
  };
  const put = (place, beside, where) => {
    if (place === beside) return;
    const next = without(place).filter((group) => group.length);
    const at = next.findIndex((group) => group.includes(beside));
    if (at < 0) return;
    if (where === "tie") next[at].push(place);
    else next.splice(where === "before" ? at : at + 1, 0, [place]);
    change(next);
  };
  const turnTo = (criterion) => {
    state.current = criterion;
    draw();
  };
  const nextCriterion = (by) => {
    const all = [...desk().querySelectorAll("[data-criterion]")].map((one) => one.dataset.criterion);
    turnTo(all[(all.indexOf(state.current) + by + all.length) % all.length]);
  };
  const same = () => {
    delete state.own[state.current];
    draw();
    remember();
  };

  // --- Drawing -----------------------------------------------------------------------------------

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const said = (place) => (byId(`answer-${place}-text`)?.innerText ?? "").replace(/\s+/g, " ").trim();
  const button = (act, place, text, label) => {
    const made = element("button", { type: "button", textContent: text });
    made.dataset.act = act;
    made.dataset.place = place;
    made.setAttribute("aria-label", label);
    return made;
  };
  const row = (place) => {
    const name = element(
      "button",
      { type: "button", className: "answer-name" },
      element("strong", { textContent: say("name", { place }) }),
      element("span", { textContent: said(place) }),
    );
    name.dataset.place = place;
    name.setAttribute("aria-label", say("moves", { place }));
    const made = element(
      "div",
      { className: "answer-row", draggable: true },
      name,
      button("up", place, "↑", say("up", { place })),
      button("down", place, "↓", say("down", { place })),
      button("out", place, "✕", say("out", { place })),
    );
    made.dataset.place = place;
    return made;
  };
  const draw = () => {
    const here = desk();
    if (!here) return;
    const order = groups();
    here.querySelector(".order").replaceChildren(
      ...order.map((group, at) =>
        element(
          "li",
          {},
          element("span", { className: "rank", textContent: String(at + 1) }),
          element("div", { className: "tied" }, ...group.map(row)),
        ),
      ),
    );
    for (const one of here.querySelectorAll("[data-criterion]")) {
      const on = one.dataset.criterion === state.current;
      one.setAttribute("aria-checked", String(on));
      one.tabIndex = on ? 0 : -1;
      one.classList.toggle("own", one.dataset.criterion in state.own);
      if (on) here.querySelector(".criterion-asks").textContent = one.dataset.asks;
    }
    here.classList.toggle("follows", follows());
    here.querySelector(".same").hidden = !(state.current in state.own);
    here.querySelector(".following").hidden = !follows();
    const waiting = left();
    here.querySelector(".left").textContent = waiting.length
      ? say(order.length ? "left" : "first", { places: waiting.join(", ") })
      : say("done");
    here.querySelector("[data-act=tie]").disabled = order.length < 2;
    here.querySelector("[data-act=back]").disabled = !order.length;
    here.querySelector("[data-act=rest]").disabled = !waiting.length;
    for (let place = 1; place <= 9; place += 1) {
      const pane = byId(`answer-${place}`);
      const rank = order.findIndex((group) => group.includes(place)) + 1;
      if (pane && (pane.dataset.rank ?? "") !== String(rank || "")) {
        if (rank) pane.dataset.rank = rank;
        else delete pane.dataset.rank;
      }
    }
  };
  const focusOn = (place) => {
    desk()?.querySelector(`.answer-name[data-place="${place}"]`)?.focus();
  };

  // --- Keeping -----------------------------------------------------------------------------------

  const remember = () => {
    try { window.sessionStorage.setItem(STORE, JSON.stringify(state)); } catch { /* this page only */ }
  };
  const remembered = () => {
    try { return JSON.parse(window.sessionStorage.getItem(STORE) ?? "null"); } catch { return null; }
  };
  const parsed = (ranks) => {
    const best = Math.max(0, ...ranks);
    return Array.from({ length: best }, (_, at) =>
      ranks.flatMap((rank, i) => (rank === at + 1 ? [i + 1] : [])),
    );
  };
  const begin = (here) => {
    here.dataset.drawn = "yes";
    const { token, answers, orders } = here.dataset;
    if (token !== state.token) {
      const known = remembered();
      const given = JSON.parse(orders || "{}");
      const mine = known?.token === token ? known : null;
      state.token = token;
      state.n = Number(answers);
      state.current = "overall";
      state.overall = mine?.overall ?? parsed(given.overall ?? []);
      state.own = mine?.own ?? Object.fromEntries(
        Object.entries(given.criteria ?? {}).map(([name, ranks]) => [name, parsed(ranks)]),
      );
    }
    draw();
  };
  const ranks = (order) => {
    const found = Array(state.n).fill(0);
    order.forEach((group, at) => group.forEach((place) => { found[place - 1] = at + 1; }));
    return found;
  };
  const value = () =>
    JSON.stringify({
      overall: ranks(state.overall),
      criteria: Object.fromEntries(Object.entries(state.own).map(([name, order]) => [name, ranks(order)])),
    });
  // What was saved is no longer the page's to keep.
  const forget = (token) => {
    if (!token || remembered()?.token !== token) return;
    if (state.token === token) state.token = "";
    try { window.sessionStorage.removeItem(STORE); } catch { /* nothing was kept */ }
  };

  // --- Events ------------------------------------------------------------------------------------

  const ACTS = { tie, back, rest, same };
  document.addEventListener("click", (event) => {
    const taken = /^take-(\d)$/.exec(event.target.closest?.("button")?.id ?? "");
    if (taken) take(Number(taken[1]));
    const pressed = event.target.closest?.("#rank-desk button");
    if (!pressed) return;
    const { act, place, criterion } = pressed.dataset;
    if (criterion) turnTo(criterion);
    else if (act === "up" || act === "down") move(Number(place), act === "up" ? -1 : 1);
    else if (act === "out") change(without(Number(place)));
    else ACTS[act]?.();
  });

  // Enter saves, except on what it presses otherwise: a button that still has something to do.
  const pressing = (target) => {
    const control = target.closest?.("button, a, [role=tab], summary");
    if (!control || control.matches(".answer-name, [aria-selected=true], [aria-checked=true]")) return false;
    return !/^take-/.test(control.id) || left().length > 0;
  };

  const KEYS = {
    "=": tie,
    backspace: back,
    r: rest,
    c: (event) => nextCriterion(event.shiftKey ? -1 : 1),
    s: () => window.twofold.press("rank-skip"),
    n: () => window.twofold.focus("rank-text"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!window.twofold?.keysOn() || byId("keys-dialog")?.open) return;
    if (window.twofold.writing(event.target)) return;
    const key = event.key.toLowerCase();
    if (!byId("rank-intro")?.offsetParent) return;
    if (!event.repeat && ((key === "u" && window.twofold.press("rank-undo")) || (key === "n" && KEYS.n()))) {
      event.preventDefault();
      return;
    }
    if (!desk()?.offsetParent) return;
    const name = event.target.closest?.(".answer-name");
    const criterion = event.target.closest?.("[data-criterion]");
    let done = true;
    if (criterion && key.startsWith("arrow")) {
      nextCriterion(key === "arrowleft" || key === "arrowup" ? -1 : 1);
      desk().querySelector("[aria-checked=true]").focus();
    } else if (name && key === "arrowup") move(Number(name.dataset.place), -1);
    else if (name && key === "arrowdown") move(Number(name.dataset.place), 1);
    else if (/^[1-9]$/.test(key)) done = take(Number(key));
    else if (key === "enter" && !pressing(event.target)) {
      window.twofold.press("rank-save");
    } else if (KEYS[key] && !(event.repeat && key !== "backspace")) KEYS[key](event);
    else done = false;
    if (done) event.preventDefault();
  });

  // A row is dropped on the upper third of another one, on its middle, or on its lower third.
  let dragged = 0;
  const target = (event) => event.target.closest?.("#rank-desk .answer-row");
  const where = (event, over) => {
    const { top, height } = over.getBoundingClientRect();
    const at = (event.clientY - top) / height;
    return at < 0.33 ? "before" : at > 0.67 ? "after" : "tie";
  };
  const clear = () => {
    for (const one of document.querySelectorAll("#rank-desk [data-drop]")) delete one.dataset.drop;
  };
  document.addEventListener("dragstart", (event) => {
    const from = target(event);
    if (!from) return;
    dragged = Number(from.dataset.place);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", say("name", { place: dragged }));
  });
  document.addEventListener("dragover", (event) => {
    const over = target(event);
    if (!dragged || !over) return;
    event.preventDefault();
    clear();
    over.dataset.drop = where(event, over);
  });
  document.addEventListener("drop", (event) => {
    const over = target(event);
    if (!dragged || !over) return;
    event.preventDefault();
    put(dragged, Number(over.dataset.place), where(event, over));
  });
  document.addEventListener("dragend", () => {
    dragged = 0;
    clear();
  });

  new MutationObserver(() => {
    const here = desk();
    if (here && here.dataset.drawn !== "yes") begin(here);
    for (const id of ["rank-note", "rank-saved", "rank-failed"]) {
      const part = byId(id);
      if (part && !part.hasAttribute("aria-live")) part.setAttribute("aria-live", "polite");
    }
  }).observe(document.body, { childList: true, subtree: true });

  window.twofold.rank = { value, forget };
}
