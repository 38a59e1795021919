"use strict";
// Keys for the review: arrows move between photos, K keeps, R rejects. Without this the checkboxes work as any do.
const boxes = [...document.querySelectorAll("#review input[type=checkbox]:not(:disabled)")];
document.querySelector("#review")?.addEventListener("keydown", (event) => {
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
// The run's lines as they come; when it ends, the verdict.
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
