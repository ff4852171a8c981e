// Files that are dropped on the page.

import { html, useEffect, useState } from "./vendor/preact.js";
import { add } from "./draft.js";

/** Files may be dropped wherever the pointer is, in any view: they are for a new job. */
export function DropAnywhere() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    const step = (by) => (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      depth = Math.max(depth + by, 0);
      setOver(depth > 0);
    };
    const dropped = (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      add(event.dataTransfer.files);
      location.hash = "#/new";
    };
    const events = { dragenter: step(1), dragover: step(0), dragleave: step(-1), drop: dropped };
    for (const [name, heard] of Object.entries(events)) addEventListener(name, heard);
    return () => Object.entries(events).forEach(([name, heard]) => removeEventListener(name, heard));
  }, []);
  return over && html`<div class="overlay" aria-hidden="true">Drop to add</div>`;
}
