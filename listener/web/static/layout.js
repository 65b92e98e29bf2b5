// Where each line stands: sections one below the other, each a head and, if it is open, its lines. Numbers only, no DOM.
//
// Without wrapping each line has one height. With it, a line's rows are guessed from its bytes and corrected when it has been shown. What
// does not fit into the height that browsers give an element is scaled.

export const HEAD = 40, LINE = 20, GAP = 12;
const TALLEST = 15_000_000; // pixels; Firefox ends at 17.8 million
const GROUP = 512; // lines whose rows are summed up

export class Layout {
  constructor() {
    this.sections = [];
    this.columns = 0; // of a wrapped line; 0: no wrapping
    this.height = 0;
  }

  /** Another width, or wrapping switched: all guesses are void. */
  setColumns(columns) {
    this.columns = columns;
    for (const section of this.sections) section.rows = null;
  }

  /** Put all sections in their places; after lines were added, or sections opened. */
  update() {
    let top = 0;
    for (const section of this.sections) {
      section.top = top;
      section.body = section.open ? this.#body(section) : 0;
      top += HEAD + section.body + (section.open ? GAP : 0);
    }
    this.height = top;
  }

  #body(section) {
    const { lines, notes } = section;
    const rows = this.columns ? this.#rows(section).total : lines.count;
    return LINE * (rows + notes.length || 1);
  }

  #rows(section) {
    const lines = section.lines;
    const rows = (section.rows ??= { each: new Uint16Array(0), sums: [], total: 0, count: 0 });
    if (rows.each.length < lines.count) {
      const larger = new Uint16Array(Math.max(512, lines.count * 2));
      larger.set(rows.each);
      rows.each = larger;
    }
    for (; rows.count < lines.count; rows.count++) {
      const guess = Math.min(1000, Math.max(1, Math.ceil(lines.size[rows.count] / this.columns)));
      rows.each[rows.count] = guess;
      const group = Math.floor(rows.count / GROUP);
      rows.sums[group] = (rows.sums[group] ?? 0) + guess;
      rows.total += guess;
    }
    return rows;
  }

  /** A line was shown and took so many rows. True if that was not known. */
  correct(section, line, count) {
    if (!this.columns || line >= section.lines.count) return false;
    const rows = this.#rows(section), change = count - rows.each[line];
    if (!change) return false;
    rows.each[line] = count;
    rows.sums[Math.floor(line / GROUP)] += change;
    rows.total += change;
    return true;
  }

  /** The pixels from the top to a line; -1 is the section's head. */
  topOf(section, line) {
    if (line < 0) return section.top;
    const above = section.top + HEAD;
    if (!section.open) return section.top;
    if (!this.columns || line > section.lines.count) return above + line * LINE;
    const rows = this.#rows(section);
    let sum = 0;
    const group = Math.floor(line / GROUP);
    for (let i = 0; i < group; i++) sum += rows.sums[i];
    for (let i = group * GROUP; i < line; i++) sum += rows.each[i];
    return above + sum * LINE;
  }

  /** What stands at `y`: [section's index, line]; line -1 for a head. */
  at(y) {
    const sections = this.sections;
    let low = 0, high = sections.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (sections[middle].top <= y) low = middle;
      else high = middle - 1;
    }
    const section = sections[low];
    if (!section || !section.open || y < section.top + HEAD) return [low, -1];
    const row = Math.floor((y - section.top - HEAD) / LINE);
    const most = Math.max(0, this.countOf(section) - 1);
    if (!this.columns) return [low, Math.min(row, most)];
    const rows = this.#rows(section);
    let sum = 0, group = 0;
    while (group < rows.sums.length - 1 && sum + rows.sums[group] <= row) sum += rows.sums[group++];
    let line = group * GROUP;
    while (line < section.lines.count && sum + rows.each[line] <= row) sum += rows.each[line++];
    return [low, Math.min(line + (line >= section.lines.count ? row - sum : 0), most)];
  }

  /** Lines and notes; one for "nothing here". */
  countOf(section) {
    return section.lines.count + section.notes.length || 1;
  }

  /** The height of the element that is scrolled. */
  get tall() {
    return Math.min(this.height, TALLEST);
  }

  /** From where the element is scrolled to, to pixels of the whole. */
  fromScroll(scroll, view) {
    return this.height <= TALLEST ? scroll : (scroll * (this.height - view)) / (TALLEST - view);
  }

  toScroll(y, view) {
    return this.height <= TALLEST ? y : (y * (TALLEST - view)) / (this.height - view);
  }
}
