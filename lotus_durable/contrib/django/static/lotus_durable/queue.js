"use strict";
// The box in the head of a list ticks all on the page; without scripts the page works, and one ticks each.
const all = document.getElementById("lotus-all");
if (all) {
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll("#lotus-events input[name=event]")) {
      box.checked = all.checked;
    }
  });
}
