// The log as sections, one per step and attempt, from two sources: what the run's state says, and what comes down the stream. No DOM.

import { Lines } from "./lines.js";

export const MOST_BYTES = 256 * 1024 * 1024; // of lines kept in the tab

export class Log {
  constructor(run) {
    this.sections = [];
    this.byKey = new Map();
    this.attempt = new Map(); // label → the attempt that prints
    this.kept = 0;
    this.waiting = "";
    this.verdict = "";
    this.last = null; // the section that the last line went to
    this.followed = null;
    this.apply(run);
  }

  /** Take over what the run's state says now. */
  apply(run, prefix = "") {
    if (!prefix) this.run = run;
    for (const task of run.tasks) {
      const label = prefix + task.label;
      if (task.nested) this.apply(task.nested, `${label}/`);
      for (const attempt of task.attempts) {
        for (const step of attempt.steps) {
          const section = this.section(label, step.name, attempt.number);
          section.title = titleOf(task, prefix);
          section.state = step.state;
          section.attempts = task.attempts.length;
          section.started = step.started;
          section.finished = step.finished;
          section.said = saidOf(step);
          section.empty = emptyOf(step);
        }
      }
    }
  }

  /** The section of a step; made, behind its task's others, where it is new. */
  section(label, step, attempt = 1) {
    const key = `${label}\0${step}\0${attempt}`;
    let section = this.byKey.get(key);
    if (section) return section;
    section = {
      id: this.byKey.size, key, label, title: label, step, attempt, attempts: 1, state: "unknown", open: false, auto: false,
      started: "", finished: "", said: "", empty: "No output.", notes: [], lines: new Lines(), rows: null, top: 0, body: 0,
      get took() { return took(this.started, this.finished, this.state); },
    };
    this.byKey.set(key, section);
    let place = this.sections.length;
    for (let i = this.sections.length - 1; i >= 0; i--) if (this.sections[i].label === label) { place = i + 1; break; }
    this.sections.splice(place, 0, section);
    return section;
  }

  /** The section that the run's state points at: where it broke, or was ended. */
  place() {
    const place = this.run.place;
    if (!place) return null;
    const fits = (section) => section.label === place.label && section.attempt === place.attempt;
    return this.sections.find((s) => fits(s) && s.step === place.step) ?? this.sections.find(fits) ?? null;
  }

  /** A step that runs: the same as long as it does, of several the one that printed last. */
  running() {
    if (this.followed && this.#runs(this.followed)) return this.followed;
    const printed = (section) => (section.lines.count ? section.lines.time[section.lines.count - 1] || 1 : 0);
    let found = null;
    for (const section of this.sections) {
      if (this.#runs(section) && (!found || printed(section) > printed(found))) found = section;
    }
    this.followed = found;
    return found;
  }

  /** What is printed is known earlier than what the run's state says. */
  #runs(section) {
    if (section.state !== "running" && !(section.lines.count && /^(waiting|unknown)$/.test(section.state))) return false;
    return !this.sections.some(
      (later) => later.label === section.label && later.attempt >= section.attempt && later.lines.count &&
        this.sections.indexOf(later) > this.sections.indexOf(section),
    );
  }

  /** The section that an address (without "#") means, and its lines: [section, from, to], or null. */
  find(hash) {
    const match = /^(.*?)\/?([^/:~]*)(?:~(\d+))?(?::(\d{1,9})(?:-(\d{1,9}))?)?$/.exec(hash);
    if (!match) return null;
    const [, label, step, attempt, from, to] = match;
    const section = this.byKey.get(`${label}\0${step}\0${attempt ?? 1}`);
    if (section) return [section, from ? from - 1 : -1, (to ?? from ?? 0) - 1];
    const whole = label ? `${label}/${step}` : step; // a task without a step
    const first = this.sections.findLast((s) => s.label === whole && s.state === "failed") ?? this.sections.find((s) => s.label === whole);
    return first ? [first, -1, -1] : null;
  }

  // What the parser gives

  line(label, step, bytes, start, end, time) {
    let section = this.last;
    const attempt = this.attempt.get(label) ?? 1;
    if (!section || section.label !== label || section.step !== step || section.attempt !== attempt) {
      section = this.last = this.section(label, step, attempt);
    }
    this.kept += section.lines.add(bytes, start, end, time);
    while (this.kept > MOST_BYTES) {
      const largest = this.sections.reduce((a, b) => (b.lines.kept > a.lines.kept ? b : a));
      const freed = largest.lines.forget();
      if (!freed) break;
      this.kept -= freed;
    }
  }

  note(text) {
    const attempt = /^(\S+): attempt (\d+)$/.exec(text);
    if (attempt) return void this.attempt.set(attempt[1], Number(attempt[2]));
    const place = /^(\S+) › ([^\s:,]+)[:,]? (.+)$/.exec(text) ?? /^(\S+)(): (.+)$/.exec(text);
    const section = place ? this.#about(place[1], place[2]) : this.section("", "", 1);
    if (section.said && / exited \d+/.test(text)) return; // the head says it
    if (section.state === "unknown" && place?.[3].startsWith("skipped")) section.state = "skipped";
    section.notes.push(text);
    section.empty = "";
  }

  /** The section that a note is about. One about a whole task stands with its first step that printed nothing. */
  #about(label, step) {
    const attempt = this.attempt.get(label) ?? 1;
    const silent = (s) => s.label === label && s.attempt === attempt && s.step && !s.lines.count;
    return (step ? null : this.sections.find(silent)) ?? this.section(label, step, attempt);
  }
}

/** A task's name; of a matrix with what tells this one from the others. */
function titleOf(task, prefix) {
  const values = Object.values(task.values);
  return prefix + (values.length ? `${task.task} (${values.join(" · ")})` : task.label);
}

function saidOf(step) {
  if (step.state === "skipped") return "did not run";
  if (step.reason && step.exit_code) return `exit ${step.exit_code} · ${step.reason}`;
  if (step.reason) return step.reason;
  return step.exit_code ? `exit ${step.exit_code}` : "";
}

function emptyOf(step) {
  if (step.state === "waiting") return step.message || "Waiting to start…";
  if (step.state === "running") return "Running; nothing printed yet.";
  if (step.state === "skipped") return "Did not run: an earlier step failed.";
  return step.message || "No output.";
}

/** "1m 02s" from one time to the other, or to now while it runs; "" where nothing is known. */
export function took(started, finished, state) {
  const from = Date.parse(started);
  const to = finished ? Date.parse(finished) : state === "running" ? Date.now() : NaN;
  return Number.isNaN(to - from) ? "" : duration((to - from) / 1000);
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds)), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  if (h) return `${h}h ${m}m`;
  return m ? `${m}m ${s % 60}s` : `${s}s`;
}
