// The list of runs keeps itself up to date: the service makes it, here it is only put in place.

const EVERY = 10000; // milliseconds
const list = document.getElementById("list");

setInterval(async () => {
  if (document.hidden || list.contains(document.activeElement)) return;
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("list");
    if (fresh && fresh.innerHTML !== list.innerHTML) list.innerHTML = fresh.innerHTML;
  } catch { /* the next time */ }
}, EVERY);

// A choice takes effect at once; the button is for those without JavaScript.
const form = document.getElementById("filter");
form.addEventListener("change", () => form.requestSubmit());
