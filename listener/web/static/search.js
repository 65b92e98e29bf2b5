// Looks for words in all lines without holding up the page. Case does not matter. No DOM.

import { plain } from "./ansi.js";

export const MOST = 10000; // places that are noted
const SLICE = 10; // milliseconds at a time
const ESCAPE = /\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?)/g;
const bytesAsText = new TextDecoder("windows-1252"); // a character for each byte

/** `sections`: [{lines}], in the order in which they are shown. `found(places, whole)` is called as places are found. */
export class Search {
  constructor(sections, words, found) {
    this.sections = sections;
    this.words = words.toLowerCase();
    this.needle = bytesAsText.decode(new TextEncoder().encode(words)).toLowerCase();
    this.found = found;
    this.places = []; // [section, line], section by section
    this.done = new Map(); // section → [block, position] up to which it was looked at
    this.stopped = false;
    this.running = false;
  }

  stop() {
    this.stopped = true;
  }

  /** Look at what has come since, too. */
  async run() {
    if (this.running || this.stopped) return;
    this.running = true;
    let until = performance.now() + SLICE;
    for (const section of this.sections) {
      const lines = section.lines;
      let [block, position] = this.done.get(section) ?? [0, 0];
      for (; block < lines.blocks.length && this.places.length < MOST; block++, position = 0) {
        const last = block === lines.blocks.length - 1;
        const end = last ? lines.used : lines.blocks[block].length;
        this.#lookAt(section, block, position, end);
        if (last) { position = end; break; }
        if (performance.now() > until) {
          this.done.set(section, [block + 1, 0]);
          this.found(this.places, false);
          await new Promise((go) => setTimeout(go));
          if (this.stopped) return;
          until = performance.now() + SLICE;
        }
      }
      this.done.set(section, [block, position]);
    }
    this.running = false;
    const order = new Map(this.sections.map((section, i) => [section, i]));
    this.places.sort((a, b) => order.get(a[0]) - order.get(b[0]) || a[1] - b[1]);
    this.found(this.places, true);
  }

  #lookAt(section, block, position, end) {
    const lines = section.lines;
    if (!lines.count || lines.blocks[block].length === 0) return;
    let text = bytesAsText.decode(lines.blocks[block].subarray(position, end)).toLowerCase();
    if (text.includes("\x1b")) text = text.replace(ESCAPE, ""); // so that words are found across a change of colour
    let line = lines.at(block, position), counted = 0;
    for (let at = text.indexOf(this.needle); at >= 0 && this.places.length < MOST; at = text.indexOf(this.needle, at)) {
      for (let end; (end = text.indexOf("\n", counted)) >= 0 && end < at; counted = end + 1) line++;
      // What was found may be hidden, by a carriage return for one.
      if (plain(lines.text(line)).toLowerCase().includes(this.words)) this.places.push([section, line]);
      at = text.indexOf("\n", at);
      if (at < 0) break;
    }
  }
}
