"use strict";
// Runs before the page is drawn, so that a dark page never flashes light.
try {
  const chosen = localStorage.getItem("visionsweep-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden for files; the system's preference holds then.
}
