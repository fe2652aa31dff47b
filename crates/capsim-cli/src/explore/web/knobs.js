"use strict";
// The form. A state is what was turned away from its default: it lives in the address, so that a link or a reload shows the same.
const byId = (id) => document.getElementById(id);
const knobs = [...document.querySelectorAll(".knob")].map((box) => {
  const flag = box.dataset.flag;
  return {
    box,
    flag,
    kind: box.dataset.kind,
    stops: (box.dataset.stops || "").split(",").filter(Boolean).map(Number),
    paces: box.dataset.paces.split(" ").filter(Boolean),
    field: byId("k-" + flag),
    range: byId("r-" + flag),
    reset: box.querySelector(".reset"),
    error: byId("e-" + flag),
    value: "",
    /** What it stands at when it is left alone. */
    own: "",
  };
});
const knobOf = (flag) => knobs.find((k) => k.flag === flag);
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
  knob.own = text;
  if (knob.kind === "choice") {
    const words = { true: "on", false: "off" }[text] || text;
    knob.field.options[0].textContent = words && knob.value === "" ? "default: " + words : "default";
  } else if (knob.value === "") {
    knob.field.placeholder = text || (knob.kind === "text" ? "such as " + knob.field.dataset.example : "none");
    if (knob.range) {
      knob.range.value = text === "" ? 0 : nearest(knob.stops, Number(text));
      knob.range.setAttribute("aria-valuetext", text === "" ? "none" : text + ", default");
    }
  }
};
/** The state that another one is compared with, as a query; null: none. */
let pinned = null;
/** The present state as a query, without the pinned one. */
const alone = () => {
  const state = new URLSearchParams();
  for (const k of knobs) if (k.value !== "") state.append(k.flag, k.value);
  return state.toString();
};
const query = () => {
  const q = new URLSearchParams(alone());
  if (pinned !== null) q.append("pinned", pinned);
  return q.toString();
};
/** What makes requests come: knobs of other paces would contradict it. */
const pace = () => {
  const set = (flag) => knobOf(flag) !== undefined && knobOf(flag).value !== "";
  if (set("users")) return "users";
  if (set("trace-file")) return "trace";
  return set("request-rate") ? "rate" : "open";
};
const showPace = () => {
  const now = pace();
  for (const r of document.getElementsByName("pace")) r.checked = r.value === now;
  for (const k of knobs) k.box.hidden = k.paces.length > 0 && !k.paces.includes(now) && k.value === "";
};
/** Turns to another pace: its first knob gets a value near to the present load, and what contradicts it is left alone. */
const turnPace = (to, rate) => {
  const before = knobOf("users").value || knobOf("max-concurrency").value || knobOf("max-concurrency").own || "32";
  for (const k of knobs) if (k.paces.length > 0 && !k.paces.includes(to)) k.value = "";
  if (to !== "trace" && knobOf("trace-file")) knobOf("trace-file").value = "";
  if (to === "users") knobOf("users").value = before;
  if (to === "open") knobOf("max-concurrency").value = before;
  if (to === "rate") {
    const k = knobOf("request-rate");
    knobOf("max-concurrency").value = "";
    k.value = String(k.stops[nearest(k.stops, rate || 1)]);
  }
  if (to === "trace") knobOf("trace-file").value = knobOf("trace-file").field.options[1].value;
  knobs.forEach(show);
  showPace();
};
/** Sets the knobs to a state in a query. */
const load = (text) => {
  const state = new URLSearchParams(text);
  for (const k of knobs) {
    k.value = state.get(k.flag) || "";
    show(k);
  }
  showPace();
};
