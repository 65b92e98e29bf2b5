// What a terminal would show of one line, as text with classes. Pure functions, no DOM.
//
// Only SGR colours and attributes are understood; they become class names, never styles. Every other escape sequence (cursor, title,
// hyperlink, …), whole or broken, is left out, and so are control characters. A carriage return begins the line anew, as on a terminal,
// so that of a progress bar only its last state is left.

// A style is one number: foreground (0 none, 1-16) | background << 5 | attributes << 10.
const BOLD = 1 << 10, DIM = 1 << 11, ITALIC = 1 << 12, UNDERLINE = 1 << 13, INVERSE = 1 << 14, STRIKE = 1 << 15;
const ATTRIBUTES = { 1: BOLD, 2: DIM, 3: ITALIC, 4: UNDERLINE, 7: INVERSE, 9: STRIKE };
const CLEARED = { 22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 27: INVERSE, 29: STRIKE };

// The sequences of ECMA-48: CSI, strings (OSC, DCS, APC, PM, SOS) up to BEL or ST, and two-character ones; broken ones end with the line.
const ESCAPE =
  /\x1b\[([0-?]*)([ -/]*)([@-~]?)|\x1b[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\))*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]?/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** The style after `parameters` of an SGR sequence. */
export function sgr(style, parameters) {
  const numbers = parameters === "" ? [0] : parameters.split(/[;:]/).map(Number);
  for (let i = 0; i < numbers.length; i++) {
    const n = numbers[i];
    if (n === 0) style = 0;
    else if (ATTRIBUTES[n]) style |= ATTRIBUTES[n];
    else if (CLEARED[n]) style &= ~CLEARED[n];
    else if (n >= 30 && n <= 37) style = foreground(style, n - 29);
    else if (n >= 90 && n <= 97) style = foreground(style, n - 81);
    else if (n === 39) style = foreground(style, 0);
    else if (n >= 40 && n <= 47) style = background(style, n - 39);
    else if (n >= 100 && n <= 107) style = background(style, n - 91);
    else if (n === 49) style = background(style, 0);
    else if (n === 38 || n === 48) {
      const set = n === 38 ? foreground : background;
      if (numbers[i + 1] === 5) { style = set(style, of256(numbers[i + 2])); i += 2; }
      else if (numbers[i + 1] === 2) { style = set(style, nearest(numbers[i + 2], numbers[i + 3], numbers[i + 4])); i += 4; }
    }
  }
  return style;
}

const foreground = (style, colour) => (style & ~31) | colour;
const background = (style, colour) => (style & ~(31 << 5)) | (colour << 5);

/** One of the sixteen colours that have a class (1-16) for one of 256; 0 for what is none. */
function of256(n) {
  if (!(n >= 0 && n <= 255)) return 0;
  if (n < 16) return n + 1;
  if (n >= 232) { const grey = (n - 232) * 10 + 8; return nearest(grey, grey, grey); }
  const level = (v) => (v ? v * 40 + 55 : 0);
  return nearest(level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6));
}

/** The same for red, green and blue: by hue and brightness, so that it reads well on light and dark. */
function nearest(r, g, b) {
  if (![r, g, b].every((v) => v >= 0 && v <= 255)) return 0;
  const most = Math.max(r, g, b), least = Math.min(r, g, b);
  if (most - least < 32) return most < 64 ? 1 : most < 144 ? 9 : most < 224 ? 8 : 16;
  const middle = (most + least) / 2;
  const hue = (r > middle ? 1 : 0) | (g > middle ? 2 : 0) | (b > middle ? 4 : 0);
  return (most > 200 ? 9 : 1) + hue;
}

/** The classes of a style, as one string; "" for none. */
export function classes(style) {
  const found = [];
  if (style & 31) found.push(`f${(style & 31) - 1}`);
  if ((style >> 5) & 31) found.push(`b${((style >> 5) & 31) - 1}`);
  if (style & BOLD) found.push("bold");
  if (style & DIM) found.push("dim");
  if (style & ITALIC) found.push("italic");
  if (style & UNDERLINE) found.push("underline");
  if (style & INVERSE) found.push("inverse");
  if (style & STRIKE) found.push("strike");
  return found.join(" ");
}

/** A line's pieces, `[{text, style}]`, and the style that the next line begins with. */
export function pieces(line, style = 0) {
  let found = [], at = 0, returned = false;
  const put = (text) => {
    text.split("\r").forEach((part, i) => {
      if (i) returned = true;
      part = part.replace(CONTROL, "");
      if (!part) return;
      if (returned) found = [];
      returned = false;
      found.push({ text: part, style });
    });
  };
  for (const match of line.matchAll(ESCAPE)) {
    put(line.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[3] === "m" && !match[2] && /^[\d;:]*$/.test(match[1])) style = sgr(style, match[1]);
  }
  put(line.slice(at));
  return { pieces: found, style };
}

/** The style after a line, from its bytes; much cheaper than `pieces` where there is nothing to do. */
export function styleAfter(bytes, style) {
  for (let at = bytes.indexOf(27); at >= 0; at = bytes.indexOf(27, at + 1)) {
    if (bytes[at + 1] !== 91) continue;
    let end = at + 2;
    while (end < bytes.length && ((bytes[end] >= 48 && bytes[end] <= 59))) end++;
    if (bytes[end] === 109) style = sgr(style, String.fromCharCode(...bytes.subarray(at + 2, Math.min(end, at + 66))));
  }
  return style;
}

/** A line's text as it is shown. */
export const plain = (line) => pieces(line).pieces.map((piece) => piece.text).join("");
