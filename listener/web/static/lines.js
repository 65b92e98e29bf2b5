// One step's lines: their bytes in blocks, an index beside them, nothing decoded until it is shown. No DOM.

import { styleAfter } from "./ansi.js";

const BLOCK = 1 << 20;
const decoder = new TextDecoder(); // what is no UTF-8 becomes U+FFFD

const grown = (array, size) => {
  const larger = new array.constructor(Math.max(256, size * 2));
  larger.set(array);
  return larger;
};

export class Lines {
  constructor() {
    this.count = 0;
    this.first = 0; // lines before this one are not kept any more
    this.kept = 0; // bytes
    this.blocks = [];
    this.used = 0; // bytes of the last block
    this.block = new Uint32Array(0);
    this.start = new Uint32Array(0);
    this.size = new Uint32Array(0);
    this.time = new Float64Array(0);
    this.style = new Uint16Array(0);
    this.next = 0; // the style that the next line begins with
  }

  /** Append a line; gives the bytes that it took. */
  add(bytes, start, end, time) {
    const size = end - start;
    let last = this.blocks[this.blocks.length - 1];
    let took = 0;
    if (!last || this.used + size + 1 > last.length) {
      const usual = Math.min(BLOCK, 4096 << (2 * this.blocks.length));
      last = new Uint8Array(Math.max(usual, size + 1));
      this.blocks.push(last);
      this.used = 0;
      took = last.length;
      this.kept += took;
    }
    const line = bytes.subarray(start, end);
    last.set(line, this.used);
    last[this.used + size] = 10;
    const i = this.count;
    if (i >= this.block.length) for (const key of ["block", "start", "size", "time", "style"]) this[key] = grown(this[key], i);
    this.block[i] = this.blocks.length - 1;
    this.start[i] = this.used;
    this.size[i] = size;
    this.time[i] = time;
    this.style[i] = this.next;
    if (line.indexOf(27) >= 0) this.next = styleAfter(line, this.next);
    this.used += size + 1;
    this.count++;
    return took;
  }

  /** Forget the oldest block; gives the bytes that became free, 0 where only one is left. */
  forget() {
    const block = this.first < this.count ? this.block[this.first] : this.blocks.length;
    if (block >= this.blocks.length - 1) return 0;
    const freed = this.blocks[block].length;
    this.blocks[block] = new Uint8Array(0);
    while (this.first < this.count && this.block[this.first] === block) this.first++;
    this.kept -= freed;
    return freed;
  }

  /** A line's text. Of one longer than `most` bytes only its beginning, or of a progress bar its last state. */
  text(i, most = Infinity) {
    const bytes = this.blocks[this.block[i]];
    const start = this.start[i], end = start + this.size[i];
    if (this.size[i] <= most) return decoder.decode(bytes.subarray(start, end));
    const returned = bytes.subarray(end - most, end - 1).indexOf(13);
    if (returned >= 0) return decoder.decode(bytes.subarray(end - most + returned + 1, end));
    return decoder.decode(bytes.subarray(start, start + most));
  }

  /** The line that holds the byte at `position` of `block`. */
  at(block, position) {
    let low = this.first, high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.block[middle] < block || (this.block[middle] === block && this.start[middle] <= position)) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
