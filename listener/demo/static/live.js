// The page follows what happens: it is read again every two seconds and changed where it has changed. What is unfolded stays unfolded.
let shown = "";
setInterval(async () => {
  if (document.hidden || !getSelection().isCollapsed) return;
  const answer = await fetch(location.pathname, {cache: "no-store"}).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (fresh.innerHTML === shown) return;
  shown = fresh.innerHTML;
  const open = new Set([...document.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent));
  for (const summary of fresh.querySelectorAll("details > summary")) summary.parentElement.open = open.has(summary.textContent);
  document.querySelector("main").replaceWith(fresh);
}, 2000);
