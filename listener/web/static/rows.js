// The elements of the log: a section's head, a line. Text goes in as text, never as markup.

import { classes, pieces } from "./ansi.js";

const LONGEST = 10_000; // bytes of a line that are shown
const WORDS = {
  succeeded: "succeeded", failed: "failed", continued: "failed, which was allowed", cancelled: "cancelled", skipped: "did not run",
  running: "running", waiting: "waiting", timed_out: "timed out", unknown: "",
};

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** One of the page's icons (they stand in the page, in a template each). */
export function icon(state) {
  const template = document.getElementById(`icon-${state}`) ?? document.getElementById("icon-unknown");
  return template.content.cloneNode(true);
}

/** A section's address, as it stands behind "#". */
export function address(section, line) {
  const place = `${section.label}/${section.step}${section.attempt > 1 ? `~${section.attempt}` : ""}`;
  return `#${place}${line === undefined ? "" : `:${line + 1}`}`;
}

export function head(section) {
  const button = element("button", `section ${section.state}`);
  button.type = "button";
  button.dataset.section = section.id;
  button.setAttribute("aria-expanded", String(section.open));
  const chevron = element("span", "chevron");
  chevron.setAttribute("aria-hidden", "true");
  const mark = element("span", "mark");
  mark.append(icon(section.state));
  const title = element("span", "title");
  if (section.label) title.append(element("span", "task", section.title));
  title.title = `${section.label} : ${section.step}`; // as the log as text has it
  if (section.label && section.step) title.append(element("span", "separator", "›"));
  if (section.step) title.append(element("b", "", section.step));
  if (section.attempts > 1) title.append(element("span", "soft", `attempt ${section.attempt} of ${section.attempts}`));
  const word = element("span", "sr", WORDS[section.state] ?? "");
  button.append(chevron, mark, title, word);
  if (section.said) button.append(element("span", "chip", section.said));
  button.append(element("span", "count", counted(section)), element("span", "took", section.took));
  return button;
}

export function counted(section) {
  const count = section.lines.count;
  return count === 1 ? "1 line" : count ? `${count.toLocaleString("en")} lines` : "";
}

/** A line. `words`: what is searched for, in lower case, or "". */
export function line(section, number, { words, times, selected, current }) {
  const lines = section.lines;
  const row = element("div", "line");
  if (number >= lines.count) return beyond(section, number - lines.count, row);
  if (selected) row.classList.add("selected");
  if (current) row.classList.add("current");
  const link = element("a", "number", String(number + 1));
  link.href = address(section, number);
  link.tabIndex = -1;
  row.append(link);
  if (times) row.append(element("span", "time", clock(lines.time[number])));
  const text = element("span", "text");
  if (number < lines.first) {
    text.append(element("i", "soft", "this line is not kept in the browser any more; the raw log has it"));
  } else {
    const shown = pieces(lines.text(number, LONGEST), lines.style[number]).pieces;
    for (const part of marked(shown, words)) {
      const names = classes(part.style);
      const node = part.hit ? element("mark", names, part.text) : names ? element("span", names, part.text) : part.text;
      text.append(node);
    }
    if (lines.size[number] > LONGEST) {
      text.append(element("i", "cut", ` … this line has ${lines.size[number].toLocaleString("en")} bytes; the raw log has all of them`));
    }
  }
  row.append(text);
  return row;
}

function beyond(section, number, row) {
  row.className = "line note";
  const text = section.notes[number] ?? section.empty;
  row.append(element("span", "number"), element("span", "text", text));
  return row;
}

const two = (n) => String(n).padStart(2, "0");

function clock(time) {
  if (!time) return "";
  const at = new Date(time);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** The pieces, cut where `words` are found in the text that they make together. */
export function marked(shown, words) {
  if (!words) return shown;
  const whole = shown.map((part) => part.text).join("").toLowerCase();
  const hits = [];
  for (let at = whole.indexOf(words); at >= 0; at = whole.indexOf(words, at + words.length)) hits.push([at, at + words.length]);
  if (!hits.length) return shown;
  const found = [];
  let position = 0, next = 0;
  for (const part of shown) {
    let from = 0;
    while (from < part.text.length) {
      while (next < hits.length && hits[next][1] <= position + from) next++;
      const [start, end] = hits[next] ?? [Infinity, Infinity];
      const hit = position + from >= start;
      const until = Math.min(part.text.length, (hit ? end : start) - position);
      found.push({ text: part.text.slice(from, until), style: part.style, hit });
      from = until;
    }
    position += part.text.length;
  }
  return found;
}
