// Puts what the gateway sends into the page. Without it, a page is as it was when it was loaded.
"use strict";
const page = document.body.dataset.page;
const note = document.getElementById("live");
const button = document.getElementById("pause");
const patience = 10000; // something comes every two seconds
let source, silence, again, paused = false;

function follow() {
  source = new EventSource("/events?page=" + encodeURIComponent(page));
  source.onmessage = (event) => {
    heard();
    for (const [id, html] of Object.entries(JSON.parse(event.data))) put(document.getElementById(id), html);
  };
  source.onerror = () => {
    lost();
    if (source.readyState === EventSource.CLOSED) { // it was refused, after which a browser gives up
      stop();
      again = setTimeout(update, patience);
    }
  };
  silence = setTimeout(lost, patience);
}

function stop() {
  clearTimeout(silence);
  clearTimeout(again);
  if (source) source.close();
  source = undefined;
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(lost, patience);
  note.textContent = document.body.dataset.live;
}

function lost() {
  note.textContent = "Not live: the gateway does not answer";
  const state = document.querySelector("#state span");
  state.textContent = "no answer";
  state.className = "pill bad";
}

// What someone is about to use, or has marked, stays as it is.
function put(part, html) {
  if (!part || part.contains(document.activeElement)) return;
  const marked = document.getSelection();
  if (!marked.isCollapsed && part.contains(marked.anchorNode)) return;
  const scrolled = Array.from(part.querySelectorAll(".table"), (table) => table.scrollLeft);
  part.innerHTML = html;
  part.querySelectorAll(".table").forEach((table, i) => { table.scrollLeft = scrolled[i] || 0; });
}

// A page that nobody sees does not follow: browsers have six connections for all pages of an address.
function update() {
  if (paused || document.hidden) stop();
  else if (!source) follow();
}

button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Resume" : "Pause";
  if (paused) note.textContent = "Paused";
  update();
});
document.addEventListener("visibilitychange", update);
update();
