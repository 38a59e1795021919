"use strict";
// Keys for choosing photos: arrows move between them, K keeps, R rejects. Without this the checkboxes work as any do.
for (const form of document.querySelectorAll("form.choice")) {
  const boxes = [...form.querySelectorAll("input[type=checkbox]:not(:disabled)")];
  form.addEventListener("keydown", (event) => {
    const at = boxes.indexOf(document.activeElement);
    if (at < 0) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const key = event.key.toLowerCase();
    if (step) boxes[Math.min(Math.max(at + step, 0), boxes.length - 1)].focus();
    else if (key === "k" || key === "r") {
      boxes[at].checked = key === "k";
      boxes[Math.min(at + 1, boxes.length - 1)].focus();
    } else return;
    event.preventDefault();
  });
}
// The lines of a run or search as they come; when it ends, what came of it.
const log = document.querySelector("#log");
async function look() {
  try {
    const answer = await fetch(log.dataset.progress);
    const said = await answer.json();
    log.textContent = said.lines.join("\n");
    if (!said.running) return location.reload();
  } catch { /* the server may be restarting */ }
  setTimeout(look, 1500);
}
if (log) setTimeout(look, 1500);
