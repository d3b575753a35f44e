"use strict";
// Updates each element with `data-part` and an id when the server reports a change, and sends the
// forms with `data-send` without leaving the page. Without this script, forms and links work too.
(() => {
  const events = document.body.dataset.events;
  const source = events ? new EventSource(events) : null;
  let isBusy = false;
  let isSending = false;
  let sent = 0; // How many forms were answered.
  let isStale = false;

  const showLive = (isLive) => {
    const badge = document.getElementById("live");
    if (!badge) return;
    badge.textContent = isLive ? badge.dataset.on : badge.dataset.off;
    badge.classList.toggle("succeeded", isLive);
    badge.classList.toggle("failed", !isLive);
  };

  // The kind is "done" or "problem" after a form was sent, and "failed" or "kept" after an update:
  // the next update that works ends only these two.
  const notify = (text, kind = "") => {
    const notice = document.getElementById("notice");
    notice.textContent = text;
    notice.hidden = !text;
    notice.dataset.kind = kind;
    notice.className = kind === "done" ? "done" : "problem";
    notice.setAttribute("role", kind === "done" || kind === "kept" ? "status" : "alert");
  };

  const noticeKind = () => document.getElementById("notice").dataset.kind ?? "";

  // Whether a person typed or chose something in a part that wasn't sent yet.
  const isEdited = (part) =>
    [...part.querySelectorAll("input, textarea, select")].some((field) => {
      if (field.matches("select")) {
        const options = [...field.options];
        const hasDefault = options.some((one) => one.defaultSelected);
        return options.some(
          (one, index) =>
            one.selected !== (hasDefault || field.multiple ? one.defaultSelected : index === 0),
        );
      }
      if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
      return !field.matches("[type=hidden]") && field.value !== field.defaultValue;
    });

  // The list of a <select> that is open would close.
  const isChoosing = (part) =>
    part.contains(document.activeElement) && document.activeElement.matches("select");

  const placeOf = (element) => {
    if (element.id) return `#${CSS.escape(element.id)}`;
    return element.name ? `${element.localName}[name="${CSS.escape(element.name)}"]` : "#main";
  };

  const replace = (part, fresh) => {
    const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
    const focused = part.contains(document.activeElement) ? placeOf(document.activeElement) : "";
    part.source = fresh.innerHTML;
    part.innerHTML = fresh.innerHTML;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused && !part.contains(document.activeElement)) {
      (part.querySelector(focused) ?? document.getElementById("main")).focus();
    }
  };

  // Without the head: the policy of this page would refuse the style of the other one.
  const parsed = (html) =>
    new DOMParser().parseFromString(html.slice(html.indexOf("<body")), "text/html");

  const show = (html, wasSent) => {
    const page = parsed(html);
    let isKept = false;
    for (const part of document.querySelectorAll("[data-part][id]")) {
      const fresh = page.getElementById(part.id);
      // The server's own text is compared: an open <details> isn't a change.
      if (!fresh || (part.source === fresh.innerHTML && !wasSent)) continue;
      if (!wasSent && isEdited(part)) isKept = true;
      else if (wasSent || !isChoosing(part)) replace(part, fresh);
    }
    if (isKept) {
      if (noticeKind() !== "problem") notify("Something changed here. What you typed is kept; clear it to see the change.", "kept");
    } else if (["kept", "failed"].includes(noticeKind())) {
      notify("");
    }
  };

  const problemOf = (html, status) =>
    parsed(html).getElementById("problem")?.textContent ??
    (status === 401 ? "Sign in again." : `The server answered with the status ${status}.`);

  const refresh = async () => {
    if (isBusy || document.hidden) {
      isStale = true;
      return;
    }
    isBusy = true;
    isStale = false;
    const began = sent;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      const text = await response.text();
      if (began !== sent) {
        isStale = true; // It may be older than what was shown after the form was sent.
      } else if (response.ok) {
        show(text, false);
        showLive(source.readyState === EventSource.OPEN);
      } else {
        showLive(false);
        notify(`This page can't be updated: ${problemOf(text, response.status)}`, "failed");
      }
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
    if (isSending) return;
    isSending = true;
    const body = new URLSearchParams(new FormData(form, button));
    // A page whose changes need a secret keeps it where pages of other ports can't read it.
    if (body.has("secret")) body.set("secret", localStorage.getItem("secret") ?? "");
    notify("");
    try {
      const response = await fetch(form.action, { method: "POST", body });
      const text = await response.text();
      sent += 1;
      if (!response.ok) {
        notify(problemOf(text, response.status), "problem");
        if (response.status === 401) showLive(false);
        if (source) refresh();
      } else if (new URL(response.url).pathname === location.pathname) {
        show(text, true);
        notify(button?.dataset.done ?? form.dataset.done ?? "Done.", "done");
      } else {
        location.assign(response.url);
      }
    } catch {
      notify("The server doesn't answer. Nothing may have been done.", "problem");
      showLive(false);
    }
    isSending = false;
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
  if (source) {
    source.addEventListener("open", () => {
      showLive(true);
      refresh();
    });
    source.addEventListener("message", refresh);
    source.addEventListener("error", () => {
      showLive(false);
      // The server refused the connection, and the page says why.
      if (source.readyState === EventSource.CLOSED) refresh();
    });
    document.addEventListener("change", () => {
      if (noticeKind() === "kept") refresh();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && isStale) refresh();
    });
  }
})();
