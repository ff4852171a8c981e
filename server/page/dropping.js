// Files that are dropped on the page.

import { html, useEffect, useState } from "./vendor/preact.js";
import { add, leftOut } from "./draft.js";

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
      take(event.dataTransfer);
      location.hash = "#/new";
    };
    const events = { dragenter: step(1), dragover: step(0), dragleave: step(-1), drop: dropped };
    for (const [name, heard] of Object.entries(events)) addEventListener(name, heard);
    return () => Object.entries(events).forEach(([name, heard]) => removeEventListener(name, heard));
  }, []);
  return over && html`<div class="overlay" aria-hidden="true">Drop to add</div>`;
}

/** A folder cannot be read as a file: it is named, and its files may be dropped. */
function take({ files, items }) {
  const entries = [...items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry?.());
  const isFolder = (_, at) => Boolean(entries[at]?.isDirectory);
  const names = [...files].filter(isFolder).map(({ name }) => name);
  add([...files].filter((file, at) => !isFolder(file, at)));
  leftOut.set(names.length ? { message: `${names.join(", ")}: that is no file, but a folder.`, hint: "Drop the files that are in it." } : null);
}
