// The log's text as it comes, cut into lines and told apart: whose line it is, when it was printed, what is ours. Bytes in, no DOM.
//
// Every line of a step begins with "[task : step] ", every line of ours with "# "; nothing that a step prints can look like ours. With
// timestamps the time comes next. `offset` counts the bytes as `?from=` does: all but lines that only pass the time ("# ... ").

const NEWLINE = 10;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;

export class Parser {
  /** `sink`: {line(label, step, bytes, start, end, time), note(text, time), waiting(text), verdict(word, sentence)}. */
  constructor(sink) {
    this.sink = sink;
    this.offset = 0;
    this.rest = null;
    this.prefix = null; // the bytes of the last line's prefix, for most lines have the one before's
    this.label = "";
    this.step = "";
    this.day = "";
    this.midnight = 0;
    this.decoder = new TextDecoder();
  }

  /** Take some bytes; calls `sink` for each whole line. */
  push(chunk) {
    if (this.rest) {
      const joined = new Uint8Array(this.rest.length + chunk.length);
      joined.set(this.rest);
      joined.set(chunk, this.rest.length);
      chunk = joined;
      this.rest = null;
    }
    let at = 0;
    for (let end; (end = chunk.indexOf(NEWLINE, at)) >= 0; at = end + 1) this.#line(chunk, at, end);
    if (at < chunk.length) this.rest = chunk.slice(at);
  }

  /** The connection broke: half a line is asked for again. */
  broken() {
    this.rest = null;
  }

  #line(bytes, at, end) {
    const size = end + 1 - at;
    if (bytes[at] === 35) return this.#ours(bytes, at, end, size);
    this.offset += size;
    let start = at;
    if (this.prefix && this.#hasPrefix(bytes, at)) start = at + this.prefix.length;
    else {
      const close = bytes[at] === 91 ? this.#close(bytes, at, end) : -1;
      if (close < 0) return; // not as promised; nothing to show it under
      const [label, step] = this.decoder.decode(bytes.subarray(at + 1, close)).split(" : ");
      this.prefix = bytes.slice(at, close + 2);
      this.label = label;
      this.step = step ?? "";
      start = close + 2;
    }
    const time = this.#time(bytes, start, end);
    if (time) while (bytes[start++] !== 32);
    this.sink.line(this.label, this.step, bytes, start, end, time);
  }

  #hasPrefix(bytes, at) {
    const prefix = this.prefix;
    for (let i = prefix.length - 1; i >= 0; i--) if (bytes[at + i] !== prefix[i]) return false;
    return true;
  }

  #close(bytes, at, end) {
    for (let i = at; i < end && i < at + 1024; i++) if (bytes[i] === 93 && bytes[i + 1] === 32) return i;
    return -1;
  }

  /** Milliseconds since 1970 of the time that stands at `start`, or 0. */
  #time(bytes, start, end) {
    if (end - start < 21 || bytes[start + 4] !== 45 || bytes[start + 10] !== 84 || bytes[start + 13] !== 58) return 0;
    const two = (i) => (bytes[start + i] - 48) * 10 + bytes[start + i + 1] - 48;
    const day = String.fromCharCode(...bytes.subarray(start, start + 10));
    if (day !== this.day) {
      this.day = day;
      this.midnight = Date.parse(day);
    }
    if (Number.isNaN(this.midnight)) return 0;
    let at = start + 19, fraction = 0, unit = 100;
    if (bytes[at] === 46) for (at++; bytes[at] >= 48 && bytes[at] <= 57 && at < end; at++, unit /= 10) fraction += (bytes[at] - 48) * unit;
    if (bytes[at] !== 90 && bytes[at] !== 43 && bytes[at] !== 45) return 0;
    if (bytes[at] !== 90) at += 5;
    if (bytes[at + 1] !== 32) return 0;
    return this.midnight + ((two(11) * 60 + two(14)) * 60 + two(17)) * 1000 + fraction;
  }

  #ours(bytes, at, end, size) {
    let text = this.decoder.decode(bytes.subarray(at + 2, end));
    if (text.startsWith("... ")) return this.sink.waiting(text.slice(4));
    const verdict = /^verdict: (\w+) \((.*)\)$/.exec(text);
    if (verdict) return this.sink.verdict(verdict[1], verdict[2]);
    this.offset += size;
    if (text.startsWith("interrupted: ")) { this.offset -= size; return; } // said by the connection's end, not by the log
    let time = 0;
    if (TIME.test(text)) {
      const space = text.indexOf(" ");
      time = Date.parse(text.slice(0, space)) || 0;
      if (time) text = text.slice(space + 1);
    }
    this.sink.note(text, time);
  }
}
