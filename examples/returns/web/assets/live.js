// Keeps lists and states fresh. Every page works without it.
"use strict";
(() => {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  let pending = 0;

  // Someone who is typing keeps their words: the page is only told, not replaced.
  const busy = () => {
    const at = document.activeElement;
    const typing = at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
    const filled = [...document.querySelectorAll("[data-live] input, [data-live] textarea")]
      .some((field) => field.type !== "hidden" && field.value !== field.defaultValue);
    return typing || filled;
  };

  const refresh = async () => {
    if (busy()) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-live]");
      const old = document.querySelector("[data-live]");
      if (fresh && old && fresh.innerHTML !== old.innerHTML && !busy()) old.replaceWith(fresh);
    } catch { /* the next event tries again */ }
  };

  const soon = () => {
    clearTimeout(pending);
    pending = setTimeout(refresh, 250);
  };

  const events = new EventSource("/events");
  events.addEventListener("state", (event) => {
    const only = document.querySelector("[data-live]")?.dataset.live;
    if (!only || JSON.parse(event.data).return_id === Number(only)) soon();
  });
  events.addEventListener("resync", soon);
})();
