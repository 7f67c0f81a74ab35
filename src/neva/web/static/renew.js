// A page that says where it is told of changes (data-changes) renews itself. The server
// says only that something has changed; the page is then asked for again, and what differs
// in it is put in its place: focus, scroll and what is open stay. Without this script the
// page is loaded again each minute.
"use strict";
(() => {
  const body = document.body;
  const source = body.dataset.changes;
  const status = document.getElementById("renewal");
  if (!source || !status || !window.EventSource) return;

  const LEAST = 2000; // between two renewals
  const LONGEST = 60000;
  const MARKED = 4000; // so long a figure that changed is marked
  const SAID = 30000; // between two announcements
  let stream = null;
  let timer = 0;
  let isWanted = false;
  let isUnderWay = false;
  let isOver = false;
  let ended = 0; // when the last renewal ended
  let pause = LEAST;
  let failures = 0;
  let said = -SAID;

  // ---------------------------------------------------------------- what is said
  const say = (text, isSeen) => {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("seen", isSeen);
  };

  // ----------------------------------------------------------------- being filled in
  const isBegun = (form) =>
    [...form.elements].some((one) => {
      if (one.type === "hidden" || one.matches("button, output, fieldset")) return false;
      if (one.tagName === "SELECT") {
        const usual = [...one.options].findIndex((option) => option.defaultSelected);
        return one.options.length > 0 && one.selectedIndex !== Math.max(usual, 0);
      }
      if (one.type === "checkbox" || one.type === "radio") return one.checked !== one.defaultChecked;
      return one.value !== one.defaultValue;
    });
  const isFilledIn = () =>
    document.activeElement?.matches("main form :is(input, select, textarea)") ||
    [...document.querySelectorAll("main form")].some(isBegun);

  // ------------------------------------------------------------------- what differs
  // Forms as the server sent them: wired ones look different.
  const forms = new WeakMap();
  const remember = (root) => {
    for (const form of root.querySelectorAll("form")) {
      if (!forms.has(form)) forms.set(form, form.outerHTML);
    }
  };
  const keyOf = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
    const first = node.tagName === "TR" ? node.firstElementChild : null;
    const row = first ? (first.querySelector("a")?.getAttribute("href") ?? "") + first.textContent : "";
    return `${node.nodeName}#${node.id}#${row}`;
  };
  // Pairs of children that are the same thing, in order: the longest common subsequence.
  const paired = (old, fresh) => {
    const a = old.map(keyOf);
    const b = fresh.map(keyOf);
    const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
      }
    }
    const pairs = new Map();
    for (let i = 0, j = 0; i < a.length && j < b.length; ) {
      if (a[i] === b[j]) pairs.set(fresh[j++], old[i++]);
      else if (length[i + 1][j] >= length[i][j + 1]) i++;
      else j++;
    }
    return pairs;
  };
  const KEPT = new Set(["open", "hidden", "data-wired"]); // a reader, or a script, has set them
  const attributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !KEPT.has(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !KEPT.has(name)) old.setAttribute(name, value);
    }
  };
  const adopt = (node) => document.importNode(node, true);
  const renewNode = (old, fresh, changed) => {
    if (old === status) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue === fresh.nodeValue) return;
      old.nodeValue = fresh.nodeValue;
      const figure = old.parentElement?.closest("td, .value");
      if (figure) changed.add(figure);
      return;
    }
    if (old.tagName === "FORM") {
      if (forms.get(old) !== fresh.outerHTML) old.replaceWith(adopt(fresh));
      return;
    }
    if (old.isEqualNode(fresh)) return;
    if (old.tagName === "svg") {
      old.replaceWith(adopt(fresh));
      return;
    }
    attributes(old, fresh);
    const held = [...old.childNodes];
    const pairs = paired(held, [...fresh.childNodes]);
    const stay = new Set(pairs.values());
    for (const one of held) if (!stay.has(one) && one !== status) one.remove();
    let at = old.firstChild;
    for (const one of [...fresh.childNodes]) {
      const same = pairs.get(one);
      if (same) {
        at = same.nextSibling;
        renewNode(same, one, changed);
        continue;
      }
      const made = adopt(one);
      old.insertBefore(made, at);
      if (made.nodeType === Node.ELEMENT_NODE) {
        for (const cell of made.matches("tr") ? made.querySelectorAll("td") : []) changed.add(cell);
      }
    }
  };
  const place = () => {
    const held = document.activeElement;
    if (!held || held === body) return null;
    if (held.id) return `#${CSS.escape(held.id)}`;
    const leads = held.getAttribute("href");
    return leads ? `a[href="${CSS.escape(leads)}"]` : null;
  };
  const swap = (fresh) => {
    const focused = place();
    const [x, y] = [window.scrollX, window.scrollY];
    const changed = new Set();
    document.title = fresh.title;
    attributes(document.documentElement, fresh.documentElement);
    renewNode(body, fresh.body, changed);
    remember(document);
    if (!body.dataset.changes) {
      isOver = true; // such as a patient's page whose purpose has to be stated again
      close();
    }
    document.dispatchEvent(new CustomEvent("neva:renewed"));
    if (focused && document.activeElement === body) {
      document.querySelector(focused)?.focus({ preventScroll: true });
    }
    if (window.scrollX !== x || window.scrollY !== y) window.scrollTo(x, y);
    for (const one of changed) one.classList.add("changed");
    setTimeout(() => {
      for (const one of changed) one.classList.remove("changed");
    }, MARKED);
    const now = performance.now();
    if (changed.size && now - said >= SAID) {
      said = now;
      say(`${status.dataset.changed} ${changed.size}`, false);
    } else if (status.classList.contains("seen")) say("", false);
  };

  // ----------------------------------------------------------------------- renewals
  const finish = () => {
    isOver = true;
    close();
    say(status.dataset.over, true);
  };
  const renew = async () => {
    timer = 0;
    if (isUnderWay || !isWanted || isOver || document.hidden) return;
    if (isFilledIn()) {
      say(status.dataset.waits, true);
      return;
    }
    isUnderWay = true;
    isWanted = false;
    const began = performance.now();
    try {
      // The server is told that nobody asked: this keeps no session alive.
      const again = new URL(window.location.href);
      again.searchParams.set("refresh", "1");
      const answer = await fetch(again, {
        headers: { accept: "text/html" },
        redirect: "manual",
        signal: AbortSignal.timeout(30000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 403) {
        finish();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (isFilledIn()) isWanted = true;
      else swap(fresh);
      failures = 0;
    } catch {
      failures += 1;
      isWanted = true;
    } finally {
      isUnderWay = false;
      ended = performance.now();
      // A server that is slow, or away, is asked less often.
      pause = Math.min(Math.max(LEAST * 2 ** failures, 4 * (ended - began)), LONGEST);
      if (isWanted) plan(0);
    }
  };
  const plan = (spread) => {
    if (timer || isUnderWay || isOver) return;
    timer = setTimeout(renew, Math.max(0, ended + pause - performance.now()) + Math.random() * spread);
  };
  // A form that is sent or emptied again lets the page go on.
  for (const kind of ["focusout", "change", "reset"]) {
    document.addEventListener(kind, () => isWanted && plan(500));
  }

  // ------------------------------------------------------------------------- stream
  const open = () => {
    if (stream || isOver || document.hidden) return;
    const address = new URL(source, window.location.href);
    address.searchParams.set("since", body.dataset.seen);
    stream = new EventSource(address);
    stream.addEventListener("changed", (told) => {
      if (told.lastEventId === body.dataset.seen) return;
      isWanted = true;
      plan(1000 * JSON.parse(told.data).spread);
    });
    stream.addEventListener("over", finish);
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) close();
    });
  };
  const close = () => {
    stream?.close();
    stream = null;
  };
  // Browsers open six connections to a host: only a page that is seen holds one.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else {
      open();
      if (isWanted) plan(0);
    }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  // Where no stream comes through, the page is asked for each minute all the same.
  setInterval(() => {
    if (stream?.readyState === EventSource.OPEN || document.hidden) return;
    isWanted = true;
    plan(5000);
    open();
  }, LONGEST);
  remember(document);
  open();
})();
