"use strict";
// Asks for what the knobs say and shows what comes: figures at once, the rest when it is there. A state that cannot be served takes
// the figures' place with its reason.
const complain = (errors) => {
  for (const k of knobs) {
    const mine = errors.filter((e) => e.flag === k.flag).map((e) => e.message);
    k.error.textContent = mine.join("; ");
    k.field.setAttribute("aria-invalid", mine.length > 0);
  }
};
const put = (html) => {
  for (const [id, text] of Object.entries(html)) {
    const place = byId(id);
    // What was unfolded stays so.
    const open = [...place.querySelectorAll("details")].map((d) => d.open);
    place.innerHTML = text;
    place.classList.remove("stale");
    [...place.querySelectorAll("details")].forEach((d, i) => (d.open = open[i] || false));
    offer(place);
  }
};
const textOf = (tag, text) => {
  const e = document.createElement(tag);
  e.textContent = text;
  return e;
};
/** A refusal in the figures' place: no figure of another state may be taken for this one's. */
const refuse = (errors) => {
  const box = document.createElement("div");
  box.className = "refusal";
  box.setAttribute("role", "alert");
  box.append(textOf("strong", errors.some((e) => e.lost) ? "No answer." : "This state cannot be served."));
  for (const e of errors) {
    const p = document.createElement("p");
    const k = e.flag && knobOf(e.flag);
    if (k) {
      const a = textOf("a", k.box.querySelector("label").firstChild.textContent.trim());
      a.href = "#k-" + k.flag;
      a.addEventListener("click", (click) => {
        click.preventDefault();
        k.box.closest("details")?.setAttribute("open", "");
        k.box.hidden = false;
        k.field.focus();
      });
      p.append(a, ": ");
    }
    p.append(e.message);
    box.append(p);
  }
  if (history.state?.turns > 0) {
    const undo = textOf("button", "Undo");
    undo.type = "button";
    undo.addEventListener("click", () => history.back());
    box.append(undo);
  }
  byId("headline").replaceChildren(box);
  byId("headline").classList.remove("stale");
  document.body.classList.add("unserved");
  document.title = "capsim explore";
};
class Refused extends Error {}
const get = async (what, q, signal) => {
  const r = await fetch("api/" + what + (q ? "?" + q : ""), { signal, headers: { "x-capsim-page": "1" } });
  const answer = await r.json();
  if (answer.errors) {
    const e = new Refused(what);
    e.errors = answer.errors;
    throw e;
  }
  return answer;
};
const errorsOf = (e) =>
  e instanceof Refused ? e.errors : [{ flag: null, lost: true, message: "capsim does not answer: is it still running?" }];
// One request at a time is under way for the figures; when it is answered, the newest state is asked for. Whatever follows
// the figures is given up when the state changes.
let wanted = null, shown = null, busy = false, first = null, rest = null, rate = null;
const PATIENCE = 150;
const refine = async (q) => {
  rest = new AbortController();
  const one = async (what, places) => {
    try {
      const answer = await get(what, q, rest.signal);
      if (q === wanted) put(answer.html);
    } catch (e) {
      if (e.name === "AbortError" || q !== wanted) return;
      const errors = errorsOf(e);
      complain(errors);
      for (const id of places) {
        byId(id).replaceChildren(...errors.map((one) => textOf("p", one.message)));
        byId(id).classList.remove("stale");
      }
    }
  };
  await Promise.all([one("settled", ["timeline", "foundations"]), one("curve", ["curve"])]);
  if (q === wanted) document.body.dataset.settled = q;
};
const showAnswer = (a) => {
  document.body.classList.remove("unserved");
  complain([]);
  put(a.html);
  for (const k of knobs) effective(k, a.effective[k.flag]);
  rate = a.prediction.metrics.request_throughput.value;
  byId("status").textContent = a.summary;
  byId("about").textContent = a.about;
  document.title = a.about + " · capsim explore";
  byId("command").textContent = a.command;
  byId("serve").textContent = a.serve || "";
  byId("server").hidden = !a.serve;
  for (const link of document.querySelectorAll("[data-file]")) link.href = `api/download/${link.dataset.file}?${alone()}`;
};
const pump = async () => {
  if (busy) return;
  busy = true;
  while (shown !== wanted) {
    const q = wanted;
    first = new AbortController();
    const begin = performance.now();
    for (const place of document.querySelectorAll(".late, #headline")) place.classList.add("stale");
    try {
      const a = await get("predict", q, first.signal);
      shown = q;
      // Where a newer state is wanted already, they fade at once.
      showAnswer(a);
      document.body.dataset.shown = q;
      document.body.dataset.ms = (performance.now() - begin).toFixed(1);
      if (q === wanted) refine(q);
    } catch (e) {
      if (e.name === "AbortError") continue;
      shown = q;
      document.body.dataset.shown = q;
      if (q !== wanted) continue;
      complain(errorsOf(e));
      refuse(errorsOf(e));
    }
  }
  busy = false;
};
const ask = (q) => {
  wanted = q;
  delete document.body.dataset.shown;
  delete document.body.dataset.settled;
  rest?.abort();
  if (busy) {
    const late = first;
    setTimeout(() => late.signal.aborted || late !== first || shown === wanted || late.abort(), PATIENCE);
  }
  pump();
};
/** What was turned last, and when: one gesture is one step back. */
let last = { who: null, at: 0 };
const changed = (who) => {
  const q = query();
  byId("swap").hidden = byId("unpin").hidden = pinned === null;
  if (pinned === null) byId("pins").textContent = "";
  if (q === wanted) return;
  const now = performance.now();
  const same = who === null || (who === last.who && now - last.at < 1000);
  const turns = history.state?.turns || 0;
  last = { who, at: now };
  // With its question mark even when nothing is turned: the bare address means what the command line said.
  if (same) history.replaceState({ turns }, "", "?" + q);
  else history.pushState({ turns: turns + 1 }, "", "?" + q);
  ask(q);
};
for (const k of knobs) {
  const turn = (v) => {
    k.value = v;
    // The price is that of the device that it was said for.
    if (k.flag === "device") knobOf("price").value = "";
    show(k);
    if (k.flag === "device") show(knobOf("price"));
    showPace();
    changed(k.flag);
  };
  k.range?.addEventListener("input", () => turn(String(k.stops[k.range.value])));
  k.field.addEventListener(k.kind === "text" ? "change" : "input", () => turn(k.field.value.trim()));
  k.field.addEventListener("blur", () => show(k));
  k.reset.addEventListener("click", () => {
    turn("");
    k.field.focus();
  });
}
for (const r of document.getElementsByName("pace")) {
  r.addEventListener("change", () => {
    turnPace(r.value, rate);
    changed("pace");
  });
}
byId("pin").addEventListener("click", () => {
  pinned = alone();
  changed("pin");
});
byId("unpin").addEventListener("click", () => {
  pinned = null;
  changed("unpin");
  byId("pin").focus();
});
byId("swap").addEventListener("click", () => {
  const other = pinned;
  pinned = alone();
  load(other);
  changed("swap");
});
byId("knobs").addEventListener("submit", (e) => e.preventDefault());
byId("start").href = location.pathname;
/** The address's state: at first, and when the reader goes back or forward. */
const address = () => {
  load(location.search);
  pinned = new URLSearchParams(location.search).get("pinned");
  last = { who: null, at: 0 };
  changed(null);
};
window.addEventListener("popstate", address);
for (const b of document.querySelectorAll(".copy")) {
  b.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId(b.dataset.of).textContent);
    b.textContent = "Copied";
    setTimeout(() => (b.textContent = "Copy"), 1500);
  });
}
// What is below the figures begins below them, however high they are.
new ResizeObserver((all) => {
  for (const e of all) document.documentElement.style.setProperty("--top", Math.ceil(e.borderBoxSize[0].blockSize) + "px");
}).observe(document.querySelector(".headline"));
address();
