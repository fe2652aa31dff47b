"use strict";
// A state is what was turned away from its default: it lives in the address, so that a link or a reload shows the same.
const byId = (id) => document.getElementById(id);
const knobs = [...document.querySelectorAll(".knob")].map((box) => {
  const flag = box.dataset.flag;
  return {
    box,
    flag,
    kind: box.dataset.kind,
    stops: (box.dataset.stops || "").split(",").filter(Boolean).map(Number),
    field: byId("k-" + flag),
    range: byId("r-" + flag),
    reset: box.querySelector(".reset"),
    error: byId("e-" + flag),
    value: "",
  };
});
/** Place of a value among the stops: that of the nearest one, by ratio where all are above zero. */
const nearest = (stops, v) => {
  const far = (s) => (stops[0] > 0 && v > 0 ? Math.abs(Math.log(s / v)) : Math.abs(s - v));
  return stops.reduce((best, s, i) => (far(s) < far(stops[best]) ? i : best), 0);
};
const show = (knob) => {
  knob.box.classList.toggle("set", knob.value !== "");
  knob.reset.hidden = knob.value === "";
  if (document.activeElement !== knob.field || knob.kind === "choice") knob.field.value = knob.value;
  if (knob.range && knob.value !== "") {
    if (document.activeElement !== knob.range) knob.range.value = nearest(knob.stops, Number(knob.value));
    knob.range.setAttribute("aria-valuetext", knob.value);
  }
};
/** What a knob that was left alone stands at. */
const effective = (knob, v) => {
  const text = v === undefined || v === null ? "" : String(v);
  if (knob.kind === "choice") {
    const words = { true: "on", false: "off" }[text] || text;
    knob.field.options[0].textContent = words && knob.value === "" ? "default: " + words : "default";
  } else if (knob.kind === "number" && knob.value === "") {
    knob.field.placeholder = text || "none";
    if (knob.range) {
      knob.range.value = text === "" ? 0 : nearest(knob.stops, Number(text));
      knob.range.setAttribute("aria-valuetext", text === "" ? "none" : text + ", default");
    }
  }
};
const query = () => {
  const state = new URLSearchParams();
  for (const k of knobs) if (k.value !== "") state.append(k.flag, k.value);
  return state.toString();
};
const load = () => {
  const state = new URLSearchParams(location.search);
  for (const k of knobs) {
    k.value = state.get(k.flag) || "";
    show(k);
  }
};
const complain = (errors) => {
  for (const k of knobs) {
    const mine = errors.filter((e) => e.flag === k.flag).map((e) => e.message);
    k.error.textContent = mine.join("; ");
    k.field.setAttribute("aria-invalid", mine.length > 0);
  }
  byId("trouble").textContent = errors.filter((e) => !e.flag).map((e) => e.message).join("; ");
};
const put = (html) => {
  for (const [id, text] of Object.entries(html)) {
    const place = byId(id);
    // What was unfolded stays so.
    const open = [...place.querySelectorAll("details")].map((d) => d.open);
    place.innerHTML = text;
    [...place.querySelectorAll("details")].forEach((d, i) => (d.open = open[i] || false));
  }
};
// Figures of an earlier state, while the present one has none: those on the cards, too.
const stale = (old) => {
  for (const place of document.querySelectorAll(".headline, #results")) place.classList.toggle("stale", old);
  if (old) byId("status").textContent = "This state cannot be served; the figures are of an earlier one.";
};
class Refused extends Error {}
const get = async (what, q, signal) => {
  const r = await fetch("api/" + what + (q ? "?" + q : ""), { signal });
  const answer = await r.json();
  if (answer.errors) {
    const e = new Refused(what);
    e.errors = answer.errors;
    throw e;
  }
  return answer;
};
// One request at a time is under way for the figures; when it is answered, the newest state is asked for. Whatever follows
// the figures is given up when the state changes.
let wanted = null, shown = null, busy = false, first = null, rest = null;
const PATIENCE = 150;
const failed = (e) => {
  if (e instanceof Refused) complain(e.errors);
  else complain([{ flag: null, message: "capsim does not answer: is it still running?" }]);
};
const refine = async (q) => {
  rest = new AbortController();
  const one = async (what) => {
    try {
      const answer = await get(what, q, rest.signal);
      if (q !== wanted) return;
      put(answer.html);
    } catch (e) {
      if (e.name !== "AbortError" && q === wanted) failed(e);
    }
  };
  await Promise.all([one("settled"), one("curve")]);
  if (q === wanted) document.body.dataset.settled = q;
};
const pump = async () => {
  if (busy) return;
  busy = true;
  while (shown !== wanted) {
    const q = wanted;
    first = new AbortController();
    const begin = performance.now();
    try {
      const a = await get("predict", q, first.signal);
      shown = q;
      complain([]);
      put(a.html);
      for (const k of knobs) effective(k, a.effective[k.flag]);
      byId("status").textContent = a.summary;
      byId("command").textContent = a.command;
      byId("serve").textContent = a.serve || "";
      byId("serve").hidden = document.querySelector("[data-of=serve]").hidden = !a.serve;
      stale(false);
      document.body.dataset.shown = q;
      document.body.dataset.ms = (performance.now() - begin).toFixed(1);
      if (q === wanted) refine(q);
    } catch (e) {
      if (e.name === "AbortError") continue;
      shown = q;
      stale(true);
      document.body.dataset.shown = q;
      if (q === wanted) failed(e);
    }
  }
  busy = false;
};
const changed = () => {
  const q = query();
  if (q === wanted) return;
  wanted = q;
  // With its question mark even when nothing is turned: the bare address means what the command line said.
  history.replaceState(null, "", "?" + q);
  rest?.abort();
  if (busy) {
    const late = first;
    setTimeout(() => late.signal.aborted || late !== first || shown === wanted || late.abort(), PATIENCE);
  }
  pump();
};
for (const k of knobs) {
  const turn = (v) => {
    k.value = v;
    show(k);
    changed();
  };
  k.range?.addEventListener("input", () => turn(String(k.stops[k.range.value])));
  k.field.addEventListener(k.kind === "text" ? "change" : "input", () => turn(k.field.value.trim()));
  k.field.addEventListener("blur", () => show(k));
  k.reset.addEventListener("click", () => {
    turn("");
    k.field.focus();
  });
}
byId("knobs").addEventListener("submit", (e) => e.preventDefault());
byId("start").href = location.pathname;
window.addEventListener("popstate", () => (load(), changed()));
for (const b of document.querySelectorAll(".copy")) {
  b.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId(b.dataset.of).textContent);
    b.textContent = "Copied";
    setTimeout(() => (b.textContent = "Copy"), 1500);
  });
}
load();
changed();
