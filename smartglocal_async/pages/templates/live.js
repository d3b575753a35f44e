"use strict";
// Updates each element with `data-part` and an id when the server reports a change, and sends the
// forms with `data-send` without leaving the page. Without this script, forms and links work too.
(() => {
  const events = document.body.dataset.events;
  let isBusy = false;
  let isStale = false;

  const showLive = (isLive) => {
    const badge = document.getElementById("live");
    if (!badge) return;
    badge.textContent = isLive ? badge.dataset.on : badge.dataset.off;
    badge.classList.toggle("succeeded", isLive);
    badge.classList.toggle("failed", !isLive);
  };

  const notify = (text, isProblem) => {
    const notice = document.getElementById("notice");
    notice.textContent = text;
    notice.hidden = !text;
    notice.className = isProblem ? "problem" : "done";
    notice.setAttribute("role", isProblem ? "alert" : "status");
  };

  const isEdited = (part) => {
    const field = document.activeElement;
    return part.contains(field) && field.matches("input:not([type=checkbox]), select, textarea");
  };

  const replace = (part, fresh) => {
    // The server's own text is compared: an open <details> isn't a change.
    if (part.source === fresh.innerHTML || isEdited(part)) return;
    const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    part.source = fresh.innerHTML;
    part.innerHTML = fresh.innerHTML;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused && !part.contains(document.activeElement)) {
      (document.getElementById(focused.id) ?? document.getElementById("main")).focus();
    }
  };

  // Without the head: the policy of this page would refuse the style of the other one.
  const parsed = (html) =>
    new DOMParser().parseFromString(html.slice(html.indexOf("<body")), "text/html");

  const show = (html) => {
    const page = parsed(html);
    for (const part of document.querySelectorAll("[data-part][id]")) {
      const fresh = page.getElementById(part.id);
      if (fresh) replace(part, fresh);
    }
  };

  const refresh = async () => {
    if (isBusy || document.hidden) {
      isStale = true;
      return;
    }
    isBusy = true;
    isStale = false;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (response.ok) show(await response.text());
    } catch {
      showLive(false);
    }
    // A server that reports many changes a second is read a few times a second.
    setTimeout(() => {
      isBusy = false;
      if (isStale) refresh();
    }, 250);
  };

  const send = async (form, button) => {
    const body = new URLSearchParams(new FormData(form, button));
    notify("");
    try {
      const response = await fetch(form.action, { method: "POST", body });
      const text = await response.text();
      if (!response.ok) {
        notify(parsed(text).getElementById("problem")?.textContent ?? "The server refused this.", true);
      } else if (new URL(response.url).pathname === location.pathname) {
        show(text);
        notify(button?.dataset.done ?? form.dataset.done ?? "Done.");
      } else {
        location.assign(response.url);
      }
    } catch {
      notify("The server doesn't answer. Nothing may have been done.", true);
      showLive(false);
    }
  };

  for (const part of document.querySelectorAll("[data-part][id]")) part.source = part.innerHTML;
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-send]")) return;
    event.preventDefault();
    const chosen = form.querySelector("input[type=radio][data-ask]:checked");
    const question = event.submitter?.dataset.ask ?? chosen?.dataset.ask ?? form.dataset.ask;
    if (!question || confirm(question)) send(form, event.submitter);
  });
  if (events) {
    const source = new EventSource(events);
    source.addEventListener("open", () => {
      showLive(true);
      refresh();
    });
    source.addEventListener("message", refresh);
    source.addEventListener("error", () => showLive(false));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && isStale) refresh();
    });
  }
})();
