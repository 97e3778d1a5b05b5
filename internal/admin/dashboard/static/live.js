// Puts what the gateway sends into the page. Without it, a page is as it was when it was loaded.
"use strict";
const page = document.body.dataset.page;
const note = document.getElementById("live");
const button = document.getElementById("pause");
let source, paused = false;

function follow() {
  source = new EventSource("/events?page=" + encodeURIComponent(page));
  source.onopen = () => { note.textContent = "Live"; };
  source.onerror = () => {
    note.textContent = "Not live: the gateway does not answer";
    if (source.readyState === EventSource.CLOSED) { // it was refused, after which a browser gives up
      source = undefined;
      setTimeout(update, 5000);
    }
  };
  source.onmessage = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const part = document.getElementById(id);
      if (part && !part.contains(document.activeElement)) part.innerHTML = html; // what someone is about to use stays as it is
    }
  };
}

// A page that nobody sees does not follow: browsers have six connections for all pages of an address.
function update() {
  if (!paused && !document.hidden) {
    if (!source) follow();
  } else if (source) {
    source.close();
    source = undefined;
  }
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
