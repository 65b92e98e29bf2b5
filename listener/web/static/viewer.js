// The log on the screen: one scrolled box in which only what is visible exists. What is above the eye may grow without moving it.

import { HEAD, LINE, Layout } from "./layout.js";
import { address, head, line as lineRow } from "./rows.js";

const BESIDE = 400; // pixels that are kept ready above and below

export class Viewer {
  /** `box`: the element that scrolls; `log`: a `Log`. */
  constructor(box, log) {
    this.box = box;
    this.log = log;
    this.layout = new Layout();
    this.layout.sections = log.sections;
    this.words = "";
    this.times = false;
    this.follow = false;
    this.selected = null; // {section, from, to}
    this.current = null; // [section, line] of the search
    this.onFollow = () => {};
    this.anchor = null; // {section, line, away}: what stays where it is
    this.target = null; // {section, line}: where to go as soon as it is there
    this.version = 0;
    this.known = new Map(); // key → row
    this.scheduled = 0;
    this.canvas = box.appendChild(document.createElement("div"));
    this.canvas.className = "canvas";
    this.sticky = this.canvas.appendChild(document.createElement("div"));
    this.sticky.className = "sticky";
    this.rows = this.canvas.appendChild(document.createElement("div"));
    this.rows.className = "rows";
    box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    box.addEventListener("keydown", (event) => this.#pressed(event));
    box.addEventListener("click", (event) => this.#clicked(event));
    new ResizeObserver(() => this.#resized()).observe(box);
  }

  /** Something has changed: show it with the next frame. */
  changed() {
    this.scheduled ||= requestAnimationFrame(() => {
      this.scheduled = 0;
      this.render();
    });
  }

  /** Everything on the screen looks different now. */
  redraw() {
    this.version++;
    this.changed();
  }

  wrap(on) {
    this.box.classList.toggle("wrap", on);
    this.wrapping = on;
    this.#resized();
  }

  toggle(section, open = !section.open) {
    section.open = open;
    section.auto = false;
    if (!open && this.anchor?.section === section) this.anchor = { section, line: -1, away: Math.min(0, this.anchor.away) };
    this.changed();
  }

  /** Show a line, or a section's head with -1, a third below the top. */
  go(section, line) {
    section.open = true;
    this.setFollow(false);
    this.target = { section, line };
    this.changed();
  }

  /** Show a section's last lines. */
  goToEnd(section) {
    section.open = true;
    this.target = { section, line: Infinity };
    this.changed();
  }

  setFollow(on) {
    if (this.follow === on) return;
    this.follow = on;
    this.onFollow(on);
    this.changed();
  }

  select(section, from, to = from) {
    this.selected = section ? { section, from: Math.min(from, to), to: Math.max(from, to) } : null;
    this.redraw();
  }

  #place() {
    return this.layout.fromScroll(this.box.scrollTop, this.box.clientHeight);
  }

  #moveTo(y) {
    const view = this.box.clientHeight;
    const most = Math.max(0, this.layout.height - view);
    const wanted = this.layout.toScroll(Math.min(Math.max(0, y), most), view);
    // To set it to what it is would end a scroll that is under way.
    if (Math.abs(wanted - this.box.scrollTop) >= 1) this.box.scrollTop = wanted;
    this.at = this.box.scrollTop;
  }

  #scrolled() {
    if (Math.abs(this.box.scrollTop - (this.at ?? 0)) < 1) return this.changed();
    // It was not us.
    const upwards = this.box.scrollTop < (this.at ?? 0);
    this.at = this.box.scrollTop;
    this.target = null;
    this.#hold();
    if (upwards) this.setFollow(false);
    else if (this.live && this.#atEnd()) this.setFollow(true);
    this.changed();
  }

  #atEnd() {
    const section = this.log.running();
    if (!section?.open) return false;
    return this.#place() + this.box.clientHeight >= section.top + HEAD + section.body - LINE;
  }

  /** What is at the top of the view is to stay there. */
  #hold() {
    const y = this.#place();
    const [index, line] = this.layout.at(y);
    const section = this.layout.sections[index];
    if (section) this.anchor = { section, line, away: y - this.layout.topOf(section, line) };
  }

  #resized() {
    let columns = 0;
    if (this.wrapping) {
      const probe = this.rows.appendChild(document.createElement("div"));
      probe.className = "line probe";
      probe.textContent = "0".repeat(100);
      const wide = probe.getBoundingClientRect().width / 100;
      probe.remove();
      const text = this.rows.querySelector(".line .text");
      const room = text ? text.getBoundingClientRect().width : this.box.clientWidth - 80;
      columns = Math.max(20, Math.floor(room / (wide || 8)));
    }
    if (columns !== this.layout.columns) this.layout.setColumns(columns);
    this.redraw();
  }

  render(again = true) {
    const { box, layout } = this;
    layout.update();
    this.canvas.style.height = `${layout.tall}px`;
    this.#settle();
    const view = box.clientHeight, y = this.#place();
    const [section, line] = layout.at(Math.max(0, y - BESIDE));
    const wanted = this.#rowsFrom(section, line, y + view + BESIDE);
    this.#put(wanted);
    const first = layout.sections[section];
    const top = first ? layout.topOf(first, line) : 0;
    this.rows.style.transform = `translateY(${box.scrollTop + top - y}px)`;
    this.#stick(y);
    if (layout.columns && again && this.#measure(wanted)) {
      this.anchor ?? this.#hold();
      this.render(false);
    }
  }

  /** Scroll to where we want to be. */
  #settle() {
    const { layout } = this, view = this.box.clientHeight;
    const followed = this.follow ? this.log.running() : null;
    const { section, line } = this.target ?? {};
    if (followed?.open) {
      const end = followed.top + HEAD + followed.body;
      this.#moveTo(Math.max(end - view + LINE, followed.top));
      this.#hold();
    } else if (section && line === Infinity) {
      const end = section.top + HEAD + section.body;
      this.#moveTo(Math.max(Math.min(section.top, end - HEAD), end - view + 2 * LINE));
      this.#hold();
    } else if (section && line < layout.countOf(section)) {
      this.#moveTo(layout.topOf(section, line) - (line < 0 ? 0 : view / 3));
      this.#hold();
      if (line < section.lines.count) this.target = null;
    } else if (this.anchor) {
      this.#moveTo(layout.topOf(this.anchor.section, this.anchor.line) + this.anchor.away);
    }
  }

  #rowsFrom(index, line, bottom) {
    const { layout } = this, wanted = [];
    let y = layout.sections[index] ? layout.topOf(layout.sections[index], line) : 0;
    for (; index < layout.sections.length && y < bottom; index++, line = -1) {
      const section = layout.sections[index];
      if (line < 0) {
        wanted.push(this.#head(section));
        y += HEAD;
        line = 0;
      }
      if (!section.open) continue;
      const count = layout.countOf(section);
      for (; line < count && y < bottom; line++, y += LINE) wanted.push(this.#line(section, line, line === count - 1));
    }
    return wanted;
  }

  #head(section) {
    const signature = [section.state, section.open, section.lines.count, section.said, section.took, section.attempts].join("|");
    const key = `${section.id}`;
    const known = this.known.get(key);
    if (known?.signature === signature) return known;
    const node = head(section);
    const row = { key, signature, node };
    if (known) {
      const focused = known.node === document.activeElement;
      known.node.replaceWith(node);
      if (focused) node.focus({ preventScroll: true });
    }
    this.known.set(key, row);
    return row;
  }

  #line(section, line, last) {
    const key = `${section.id}:${line}`;
    const real = line < section.lines.count;
    const signature = `${this.version}|${last}|${real}|${real && line < section.lines.first}|${real ? "" : section.empty}`;
    const known = this.known.get(key);
    if (known?.signature === signature) return known;
    const selected = this.selected?.section === section && line >= this.selected.from && line <= this.selected.to;
    const current = this.current?.[0] === section && this.current[1] === line;
    const node = lineRow(section, line, { words: this.words, times: this.times, selected, current });
    if (last) node.classList.add("last");
    const row = { key, signature, node, section, line };
    this.known.set(key, row);
    return row;
  }

  /** Put the rows there, touching only what changes: a selection of text survives. */
  #put(wanted) {
    const keep = new Set(wanted.map((row) => row.node));
    for (const node of [...this.rows.children]) if (!keep.has(node)) node.remove();
    wanted.forEach((row, i) => {
      if (this.rows.children[i] !== row.node) this.rows.insertBefore(row.node, this.rows.children[i] ?? null);
    });
    const shown = new Set(wanted.map((row) => row.key));
    for (const key of this.known.keys()) if (!shown.has(key)) this.known.delete(key);
  }

  /** With wrapping: learn how many rows the lines really take. */
  #measure(wanted) {
    let changed = false;
    for (const row of wanted) {
      if (row.line === undefined || row.line >= row.section.lines.count) continue;
      const rows = Math.max(1, Math.round(row.node.getBoundingClientRect().height / LINE));
      changed = this.layout.correct(row.section, row.line, rows) || changed;
    }
    return changed;
  }

  /** The head of the section that one is in the middle of stays at the top. */
  #stick(y) {
    const [index] = this.layout.at(y);
    const section = this.layout.sections[index];
    const inside = section?.open && y > section.top && y < section.top + HEAD + section.body;
    this.sticky.classList.toggle("shown", Boolean(inside));
    const before = this.stuck;
    this.stuck = inside ? this.known.get(`${section.id}`)?.node : undefined;
    const focused = document.activeElement;
    if (inside) {
      const { node, signature } = this.#headOf(section);
      if (this.sticky.firstChild !== node) {
        node.signature = signature;
        const held = this.sticky.contains(focused);
        this.sticky.replaceChildren(node);
        if (held) node.focus({ preventScroll: true });
      }
      const left = section.top + HEAD + section.body - y;
      node.style.transform = left < HEAD ? `translateY(${left - HEAD}px)` : "";
      if (focused && focused === this.stuck) node.focus({ preventScroll: true });
    }
    // There is one head of each section to see and to reach.
    if (before !== this.stuck) before?.classList.remove("stuck");
    this.stuck?.classList.add("stuck");
    if (!inside && before && this.sticky.contains(focused)) before.focus({ preventScroll: true });
  }

  #headOf(section) {
    const signature = [section.id, section.state, section.lines.count, section.said, section.took].join("|");
    const shown = this.sticky.firstChild;
    return shown?.signature === signature ? { node: shown, signature } : { node: head(section), signature };
  }

  #pressed(event) {
    if (event.target !== this.box || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key !== "Home" && event.key !== "End") return;
    event.preventDefault(); // to be there at once
    this.box.scrollTop = event.key === "Home" ? 0 : this.layout.tall;
  }

  #clicked(event) {
    const button = event.target.closest("button.section");
    if (button) {
      const section = this.layout.sections.find((one) => String(one.id) === button.dataset.section);
      const stuck = this.sticky.contains(button);
      this.setFollow(false);
      this.target = null;
      this.toggle(section);
      if (stuck) this.anchor = { section, line: -1, away: 0 };
      return;
    }
    const number = event.target.closest("a.number");
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const row = [...this.known.values()].find((one) => one.node.contains(number));
    if (!row) return;
    const extend = event.shiftKey && this.selected?.section === row.section;
    this.setFollow(false);
    this.select(row.section, extend ? this.selected.from : row.line, row.line);
    const { from, to } = this.selected;
    history.replaceState(null, "", address(row.section, from) + (to > from ? `-${to + 1}` : ""));
  }
}
