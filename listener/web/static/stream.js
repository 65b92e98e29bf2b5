// Reads the log from the service, again and again from where it broke off, until there is a verdict.

const PAUSES = [1, 2, 5, 10, 20]; // seconds

/** `parser`: takes the bytes and knows the offset; `ended()`: whether there is a verdict; `told(text)`: what to say of the connection. */
export async function read(url, { parser, ended, changed, told }) {
  for (let tries = 0; !ended(); ) {
    try {
      const from = parser.offset;
      const response = await fetch(`${url}${from ? `&from=${from}` : ""}`, { cache: "no-store" });
      if (response.status === 429 || response.status === 503) throw new Error(await reason(response));
      if (!response.ok) return told(await reason(response), true);
      told("");
      const reader = response.body.getReader();
      for (let piece; !(piece = await reader.read()).done; changed()) {
        parser.push(piece.value);
        tries = 0;
      }
    } catch (error) {
      parser.broken();
      if (!ended()) told(`The connection broke (${error.message}). Trying again…`);
    }
    changed();
    if (ended()) return;
    parser.broken();
    await new Promise((go) => setTimeout(go, 1000 * PAUSES[Math.min(tries++, PAUSES.length - 1)]));
  }
}

async function reason(response) {
  try {
    return (await response.json()).message;
  } catch {
    return `the service answered ${response.status}`;
  }
}
