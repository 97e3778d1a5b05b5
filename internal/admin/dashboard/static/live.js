// Puts what the gateway sends into the page. Without it, a page is as it was when it was loaded.
"use strict";
const page = document.body.dataset.page;
const note = document.getElementById("live");
const button = document.getElementById("pause");
let source;

function follow() {
  source = new EventSource("/events?page=" + encodeURIComponent(page));
  source.onopen = () => { note.textContent = "Live"; };
  source.onerror = () => { note.textContent = "Not live: the gateway does not answer"; };
  source.onmessage = (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const part = document.getElementById(id);
      // What someone is reading or about to use stays as it is.
      if (part && !part.contains(document.activeElement) && !part.querySelector("details[open]")) part.innerHTML = html;
    }
  };
}

button.hidden = false;
button.addEventListener("click", () => {
  if (source) {
    source.close();
    source = undefined;
    note.textContent = "Paused";
  } else {
    follow();
  }
  button.textContent = source ? "Pause" : "Resume";
});
follow();
