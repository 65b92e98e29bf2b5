// The page of a run: the log, what stands beside it kept up to date, keys and buttons.

import { Log } from "./model.js";
import { Parser } from "./parse.js";
import { MOST, Search } from "./search.js";
import { read } from "./stream.js";
import { Viewer } from "./viewer.js";

const EVERY = 2000; // milliseconds between two looks at the run's state
const $ = (id) => document.getElementById(id);
const page = document.documentElement;
const log = new Log(JSON.parse(page.dataset.run));
const parser = new Parser({
  line: log.line.bind(log),
  note: log.note.bind(log),
  waiting: (text) => { log.waiting = text; },
  verdict: (word) => { log.verdict = word; },
});
const viewer = new Viewer($("viewer"), log);
let touched = false; // the reader has chosen what to look at
let search = null;

function isOver() {
  return page.dataset.final === "true";
}

// What is open

/** Open what one would look for: where it broke; while it runs, the step that runs. */
function openWhatMatters() {
  if (touched || viewer.target) return;
  if (!isOver()) {
    const running = log.running();
    if (!running || !viewer.follow) return;
    for (const section of log.sections) {
      if (section.auto && section !== running && section.state === "succeeded") section.open = section.auto = false;
    }
    if (!running.open) running.open = running.auto = true;
    return;
  }
  const place = log.place();
  if (place) viewer.goToEnd(place);
  else if (log.sections.length === 1) log.sections[0].open = true;
  else for (const section of log.sections) if (!section.label || !section.step) section.open = true;
}

/** The static lines make way for the log when it can show the same, or when the reader wants something else. */
function takeOver() {
  $("tail")?.remove();
  $("viewer").hidden = false;
}

function changed() {
  openWhatMatters();
  if (!$("tail")) $("viewer").hidden = log.sections.length === 0;
  $("log").classList.toggle("bare", isOver() && log.sections.length === 0);
  $("empty").hidden = log.sections.length > 0 || Boolean($("tail"));
  if (log.waiting && !log.verdict) $("waiting").textContent = log.waiting;
  if (search) search.run();
  nameFold();
  viewer.changed();
}

function nameFold() {
  const all = log.sections.length > 0 && log.sections.every((section) => section.open);
  const text = all ? "Close all" : "Open all";
  if ($("all").textContent !== text) $("all").textContent = text;
}

// The address

function goToAddress() {
  let hash = location.hash.slice(1);
  if (!hash) return false;
  try { hash = decodeURIComponent(hash); } catch { return false; }
  const found = log.find(hash);
  if (!found) return false;
  const [section, from, to] = found;
  touched = true;
  takeOver();
  if (from >= 0) {
    viewer.select(section, from, to);
    viewer.go(section, from);
  } else {
    viewer.select(null);
    if (section.state === "failed" || section.state === "cancelled") { viewer.setFollow(false); viewer.goToEnd(section); }
    else viewer.go(section, -1);
  }
  return true;
}

// The run's state

let looking = 0; // the timer

async function lookAgain() {
  clearTimeout(looking);
  if (isOver()) return;
  let pause = EVERY;
  if (!document.hidden) {
    try {
      const response = await fetch(page.dataset.state, { cache: "no-store" });
      if (response.ok) take(await response.json());
      else if (response.status === 404 || response.status === 410) return trouble("This run is gone from the cluster; what you see is the last that is known of it.");
    } catch {
      pause *= 3; // the log's connection says it
    }
  }
  if (!isOver()) looking = setTimeout(lookAgain, pause);
}

function take(answer) {
  const before = page.dataset.look;
  log.apply(answer.run);
  swap($("head"), answer.head);
  swap($("tasks"), answer.tasks);
  document.title = answer.title;
  document.querySelector("link[rel=icon]").href = answer.icon;
  page.dataset.final = String(answer.final);
  page.dataset.look = answer.look;
  if (answer.look !== before) say(answer.run.sentence);
  if (answer.final) over();
  tick();
  changed();
}

/** Put the service's HTML in place; what has the focus keeps it, what was opened stays open. */
function swap(element, html) {
  if (element.dataset.shown === html) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  element.innerHTML = html;
  element.dataset.shown = html;
  for (const [task, open] of opened) {
    const details = element.querySelector(`details[data-task="${CSS.escape(task)}"]`);
    if (details) details.open = open;
  }
  if (focused) [...element.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
}

const opened = new Map(); // tasks whose steps the reader has opened or closed
$("tasks").addEventListener("click", (event) => {
  const details = event.target.closest("summary")?.parentElement;
  if (details) opened.set(details.dataset.task, !details.open);
});

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function say(text) {
  $("said").textContent = text;
}

function over() {
  viewer.live = false;
  viewer.setFollow(false);
  $("follow").hidden = true;
}

/** What says how long something takes, or how old it is, goes on. */
function tick() {
  const now = Date.now();
  for (const element of document.querySelectorAll("[data-since]")) {
    const seconds = (now - Date.parse(element.dataset.since)) / 1000;
    const text = element.dataset.kind === "age" ? age(seconds) : short(seconds);
    if (element.textContent !== text) element.textContent = text;
  }
  viewer.changed();
}

function short(seconds) {
  const s = Math.max(0, Math.round(seconds)), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  return h ? `${h}h ${m}m` : m ? `${m}m ${s % 60}s` : `${s}s`;
}

function age(seconds) {
  if (seconds < 45) return "just now";
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const count = Math.round(seconds / size);
    if (count >= 1) return `${count} ${unit}${count > 1 ? "s" : ""} ago`;
  }
  return "just now";
}

// Search

function startSearch() {
  search?.stop();
  search = null;
  asked = 0;
  const words = $("words").value;
  viewer.words = words.toLowerCase();
  viewer.current = null;
  $("found").textContent = "";
  if (words) {
    search = new Search(log.sections, words, (places, whole) => {
      if (!search) return;
      showFound(places);
      if (whole && asked) nextFound(asked);
    });
    search.run();
  }
  viewer.redraw();
}

function showFound(places) {
  const count = places.length >= MOST ? `${MOST.toLocaleString("en")}+` : places.length.toLocaleString("en");
  const at = viewer.current ? places.indexOf(viewer.current) + 1 : 0;
  $("found").textContent = places.length === 0 ? "nothing found" : at ? `${at} of ${count}` : `${count} found`;
}

let asked = 0; // for the next place, before the search was through

function nextFound(step) {
  asked = search?.running ? step : 0;
  if (asked || !search?.places.length) return;
  touched = true;
  takeOver();
  const { places } = search;
  const at = viewer.current ? places.indexOf(viewer.current) : step > 0 ? -1 : 0;
  const place = places[(at + step + places.length) % places.length];
  viewer.current = place;
  viewer.go(place[0], place[1]);
  viewer.redraw();
  showFound(places);
}

let typing = 0;
$("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(startSearch, 120);
});
$("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    clearTimeout(typing);
    if (search?.words !== $("words").value.toLowerCase()) startSearch();
    nextFound(event.shiftKey ? -1 : 1);
  } else if (event.key === "Escape") {
    $("words").value = "";
    startSearch();
    $("viewer").focus();
  }
});
$("next").addEventListener("click", () => nextFound(1));
$("previous").addEventListener("click", () => nextFound(-1));

// Buttons and keys

function switched(id, key, apply, usual = false) {
  const button = $(id);
  const set = (on) => {
    button.setAttribute("aria-pressed", String(on));
    apply(on);
    try { localStorage.setItem(`tekton-listener ${key}`, on ? "1" : ""); } catch { /* not allowed to remember */ }
  };
  let before = null;
  try { before = localStorage.getItem(`tekton-listener ${key}`); } catch { /* as above */ }
  if (before === null ? usual : before) {
    button.setAttribute("aria-pressed", "true");
    apply(true);
  }
  button.addEventListener("click", () => set(button.getAttribute("aria-pressed") !== "true"));
}

switched("wrap", "wrap", (on) => viewer.wrap(on), matchMedia("(max-width: 40rem)").matches);
switched("times", "times", (on) => { viewer.times = on; viewer.redraw(); });
viewer.onFollow = (on) => $("follow").setAttribute("aria-pressed", String(on));
$("follow").addEventListener("click", () => {
  touched = false;
  viewer.target = null;
  viewer.setFollow(!viewer.follow);
  changed();
});
$("all").addEventListener("click", () => {
  touched = true;
  takeOver();
  viewer.setFollow(false);
  viewer.target = null;
  const open = !log.sections.every((section) => section.open);
  for (const section of log.sections) section.open = open;
  changed();
});
addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, select, textarea");
  if ((event.key === "/" && !writing) || (event.key === "f" && (event.ctrlKey || event.metaKey) && event.target !== $("words"))) {
    event.preventDefault();
    $("words").focus();
    $("words").select();
  } else if (!writing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    if (event.key === "n" || event.key === "N") nextFound(event.key === "n" ? 1 : -1);
    if (event.key === "w") $("wrap").click();
    if (event.key === "t") $("times").click();
    if (event.key === "f" && !$("follow").hidden) $("follow").click();
  }
});
for (const kind of ["wheel", "pointerdown", "keydown"]) $("viewer").addEventListener(kind, () => { touched = true; }, { passive: true });
addEventListener("hashchange", goToAddress);
document.addEventListener("click", (event) => {
  // The same address once more.
  const link = event.target.closest('a[href^="#"]');
  if (link && !link.matches(".number") && link.getAttribute("href") === location.hash) goToAddress();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });

// Off we go

viewer.live = !isOver();
if (isOver()) over();
else viewer.setFollow(true);
if (!$("tail")) $("viewer").hidden = log.sections.length === 0;
goToAddress();
changed();
setInterval(() => { if (!document.hidden) tick(); }, 1000);
looking = setTimeout(lookAgain, EVERY);
read(page.dataset.log, {
  parser,
  ended: () => log.verdict !== "",
  changed: () => {
    if (location.hash && !touched) goToAddress();
    changed();
  },
  told: trouble,
}).then(() => {
  if (log.verdict && $("tail")) takeOver();
  if (log.verdict) lookAgain(); // the page need not wait to learn it
  page.dataset.loaded = "true";
  changed();
});
